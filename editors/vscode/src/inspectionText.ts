/** What the model was shown, as Markdown for a person. Pure. */
import type { Inspection } from "./protocol";

const SOURCES: Readonly<Record<string, string>> = {
  symbols: "Signatures of what is used here",
  edits: "Places that were edited lately",
  related: "A passage of another file",
  prefix: "The text before the cursor",
  suffix: "The text after the cursor",
};

/** A document about the latest suggestion. */
export function inspectionText(found: Inspection): string {
  const lines = [
    "# What the model was shown",
    "",
    `For a suggestion in \`${found.uri}\`, by ${found.model} in mode \`${found.mode}\`. All of it stayed on this machine; it is kept in memory only.`,
  ];
  if (found.refusal !== null) lines.push("", `Nothing was sent to the engine: ${found.refusal}.`);
  if (found.masked_chars > 0) {
    lines.push("", `${found.masked_chars} characters of secrets were replaced by \`*\`.`);
  }
  for (const part of found.parts) {
    const title = SOURCES[part.source] ?? part.source;
    const place = part.path === null ? "" : ` in \`${part.path}\``;
    lines.push("", `## ${title}${place}`, "", size(part.chars, part.tokens), "", fenced(part.text));
  }
  if (found.excluded.length > 0) {
    lines.push("", "## Open files that were not looked at", "");
    lines.push(...found.excluded.map((it) => `- \`${it.path}\`: ${it.reason}`));
  }
  if (found.cost !== null) {
    const counts = Object.entries(found.cost).map(([name, value]) => `${name} ${String(value)}`);
    lines.push("", "## What it cost", "", counts.join(", "));
  }
  return lines.join("\n") + "\n";
}

function size(chars: number, tokens: number | null): string {
  if (tokens === 0) return `${chars} characters, which did not fit.`;
  return tokens === null ? `${chars} characters.` : `${chars} characters, ${tokens} tokens.`;
}

/** A code block whose fence is longer than any in the text. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map((it) => it[0].length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}
