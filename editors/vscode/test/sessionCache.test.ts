import assert from "node:assert/strict";
import { test } from "node:test";
import { behind, type Change, type Place } from "../src/place";
import type { Update } from "../src/protocol";
import { SessionCache } from "../src/sessionCache";

const URI = "file:///project/main.py";

/** A document of one place where a prediction is, typed into as VS Code would. */
class Desk {
  readonly cache = new SessionCache();
  version = 1;
  position = { line: 3, character: 4 };

  constructor(
    text = "return one",
    private readonly lineRest = "",
  ) {
    this.cache.offer(this.place, "1", text, lineRest);
  }

  get place(): Place {
    return { uri: URI, version: this.version, position: this.position };
  }

  get text(): string | undefined {
    return this.cache.find(this.place)?.text;
  }

  /** Put a text in at the cursor, in place of so many units behind it. */
  put(text: string, removed = 0): void {
    this.change({ start: this.position, removed, text });
    this.position = behind(this.position, text.slice(0, text.length - removed));
  }

  change(...changes: Change[]): void {
    this.version += 1;
    this.cache.change(URI, this.version, changes);
  }

  update(text: string, more: Partial<Update> = {}): boolean {
    const range = { start: this.position, end: this.position };
    const item = { insertText: text, range };
    const update = { session: "1", uri: URI, version: this.version, text, done: false, item };
    return this.cache.update({ ...update, ...more }, this.version, this.lineRest);
  }
}

test("what was offered is there for its place only", () => {
  const desk = new Desk();
  assert.equal(desk.text, "return one");
  assert.equal(desk.cache.find({ ...desk.place, version: 2 }), undefined);
  assert.equal(desk.cache.find({ ...desk.place, uri: "file:///other" }), undefined);
  assert.equal(
    desk.cache.find({ ...desk.place, position: { line: 3, character: 5 } }),
    undefined,
  );
});

test("typing through shrinks it, anything else drops it", () => {
  const desk = new Desk();
  desk.put("ret");
  assert.equal(desk.text, "urn one");
  desk.put("x");
  assert.equal(desk.text, undefined);
});

test("a change elsewhere, and two changes at once, drop it", () => {
  const elsewhere = new Desk();
  elsewhere.change({ start: { line: 0, character: 0 }, removed: 0, text: "r" });
  assert.equal(elsewhere.text, undefined);
  const twice = new Desk();
  const change = { start: twice.position, removed: 0, text: "r" };
  twice.change(change, { ...change, start: { line: 9, character: 0 } });
  assert.equal(twice.text, undefined);
});

test("an event without a change keeps it", () => {
  const desk = new Desk();
  desk.cache.change(URI, desk.version, []);
  assert.equal(desk.text, "return one");
});

test("an update makes it longer, and the longer text is typed through", () => {
  const desk = new Desk();
  assert.ok(desk.update("return one + two"));
  desk.put("return one");
  assert.equal(desk.text, " + two");
});

test("an update for a version before is put behind what was typed since", () => {
  const desk = new Desk();
  const before = desk.version;
  desk.put("return");
  assert.ok(desk.update("return one + two", { version: before, done: true }));
  assert.equal(desk.text, " one + two");
  assert.equal(desk.cache.find(desk.place)?.isDone, true);
});

test("shown text never changes: an update that does not begin with it is ignored", () => {
  const desk = new Desk();
  assert.equal(desk.update("return two"), false);
  assert.equal(desk.update("return"), false);
  assert.equal(desk.text, "return one");
});

test("an update that overtakes its answer is kept", () => {
  const desk = new Desk();
  desk.update("return one + two", { session: "2", done: true });
  desk.cache.offer(desk.place, "2", "return one", "");
  assert.equal(desk.text, "return one + two");
});

test("an update of another session for an older version is ignored", () => {
  const desk = new Desk();
  desk.put("r");
  assert.equal(desk.update("something", { session: "2", version: 1 }), false);
  assert.equal(desk.text, "eturn one");
});

test("Tab takes what was on screen, and what has come since is the next block", () => {
  const desk = new Desk("one(\n    two", ")");
  desk.update("one(\n    two,\n    three");
  desk.put("one(\n    two)", 1); // a text of several lines replaces the line's rest and repeats it
  assert.deepEqual(desk.position, { line: 4, character: 7 });
  assert.equal(desk.text, ",\n    three");
});

test("a replaced rest that is not repeated drops it", () => {
  const desk = new Desk("one(\n    two", ")");
  desk.change({ start: desk.position, removed: 1, text: "one(\n    two" });
  assert.equal(desk.text, undefined);
});

test("what is typed to its end leaves nothing, until more comes", () => {
  const desk = new Desk();
  desk.put("return one");
  assert.equal(desk.text, undefined);
  desk.update("\n    ");
  assert.equal(desk.text, undefined, "blanks are nothing to show");
  desk.update("\n    return two");
  assert.equal(desk.text, "\n    return two");
});

test("dropped and cleared it is gone", () => {
  const dropped = new Desk();
  dropped.cache.drop(URI);
  assert.equal(dropped.text, undefined);
  const cleared = new Desk();
  cleared.cache.clear();
  assert.equal(cleared.text, undefined);
});

test("however it is split into keys, words and updates, what was typed and what is left is the text", () => {
  // A small generator of our own: the same sequence on every run.
  let state = 12345;
  const random = (below: number): number => {
    state = (1103515245 * state + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
  const whole = "for item in items:\r\n    total += item.price\r\nreturn total";
  for (let run = 0; run < 300; run += 1) {
    let known = 1 + random(whole.length - 1);
    let typed = 0;
    const desk = new Desk(whole.slice(0, known));
    const versions = [{ version: 1, typed: 0 }];
    for (let step = 0; step < 12; step += 1) {
      if (random(2) === 0 && typed < known) {
        const count = 1 + random(known - typed);
        desk.put(whole.slice(typed, typed + count));
        typed += count;
        versions.push({ version: desk.version, typed });
      } else {
        known += random(whole.length - known + 1);
        const told = versions[random(versions.length)];
        assert.ok(told);
        desk.update(whole.slice(told.typed, known), { version: told.version });
      }
      const left = whole.slice(typed, known);
      assert.equal(desk.text, left.trim() === "" ? undefined : left);
    }
  }
});
