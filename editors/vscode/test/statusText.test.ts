import assert from "node:assert/strict";
import { test } from "node:test";
import type { StatusState } from "../src/protocol";
import { statusText } from "../src/statusText";

const textOf = (state: StatusState, more = {}): string =>
  statusText({ state, message: "Because.", ...more }).text;

test("each state has a look of its own, and says why in the tooltip", () => {
  const states = ["starting", "loading", "ready", "disabled", "restarting", "failed"] as const;
  const texts = states.map((state) => textOf(state));
  assert.equal(new Set(texts).size, states.length);
  assert.equal(statusText({ state: "failed", message: "No memory." }).tooltip, "No memory.");
  assert.equal(statusText({ state: "missing", message: "" }).text, "$(cloud-download) Seed: set up");
});

test("loading tells how far it is, if that is known", () => {
  assert.match(textOf("loading", { progress: 0.426 }), /loading 42 %$/);
  assert.match(textOf("loading", { progress: null }), /loading$/);
});

test("busy and ready have the same words, so that the bar does not jump", () => {
  const words = (text: string): string => text.replace(/\$\([^)]*\)/, "");
  assert.equal(words(textOf("busy")), words(textOf("ready")));
});

test("disabled says in a word why", () => {
  assert.match(textOf("disabled", { reason: "snoozed" }), /snoozed$/);
  assert.match(textOf("disabled", { reason: "excluded" }), /not here$/);
  assert.match(textOf("disabled", { reason: "something new" }), /off$/);
});

test("only a failure is colored", () => {
  assert.equal(statusText({ state: "failed", message: "" }).isError, true);
  assert.equal(statusText({ state: "disabled", message: "" }).isError, false);
});

test("a screen reader is told without icons", () => {
  assert.equal(statusText({ state: "loading", message: "", progress: 0.5 }).label, "Seed, loading 50 %");
});
