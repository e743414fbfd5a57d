// Runs in the page: writes down what each painted frame shows in the editor, if that has changed.
// A frame is {at: ms, text, ghost}; a view line's ghost text is the spans that decorate it, further
// lines of it stand in view zones of their own.
(() => {
  const read = (element) => element.textContent.replaceAll("\u00a0", " ").replaceAll("\u200b", "");
  const byTop = (one, other) => parseFloat(one.style.top) - parseFloat(other.style.top);

  window.seedScreen = () => {
    const editor = document.querySelector(".editor-instance .monaco-editor");
    if (!editor) return { text: "", ghost: "" };
    const text = [];
    const ghost = [];
    for (const line of [...editor.querySelectorAll(".view-lines > .view-line")].sort(byTop)) {
      const spans = [...line.querySelectorAll("[class*='ghost-text']")];
      const copy = line.cloneNode(true);
      for (const span of copy.querySelectorAll("[class*='ghost-text']")) span.remove();
      text.push(read(copy));
      const inLine = spans.filter((span) => !span.parentElement.closest("[class*='ghost-text']"));
      if (inLine.length) ghost.push(inLine.map(read).join(""));
    }
    for (const zone of editor.querySelectorAll(".view-zones .suggest-preview-text"))
      for (const line of zone.children) ghost.push(read(line));
    return { text: text.join("\n"), ghost: ghost.join("\n") };
  };

  window.seedFrames = [];
  const look = () => {
    const { text, ghost } = window.seedScreen();
    const last = window.seedFrames.at(-1);
    if (!last || last.text !== text || last.ghost !== ghost)
      window.seedFrames.push({ at: performance.now(), text, ghost });
  };

  // VS Code draws in animation frames, perhaps behind ours: what is painted is known only when all
  // of them are over. That is when observers of sizes are called, so each frame changes a size.
  const probe = document.body.appendChild(document.createElement("div"));
  probe.style = "position: fixed; visibility: hidden; height: 1px; width: 1px";
  new ResizeObserver(look).observe(probe);
  const tick = () => {
    probe.style.width = probe.style.width === "1px" ? "2px" : "1px";
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})();
