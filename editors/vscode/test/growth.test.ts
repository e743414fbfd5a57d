import assert from "node:assert/strict";
import { test } from "node:test";
import { grown, isWanted } from "../src/growth";

const streaming = (text: string) => ({ session: "1", text, isDone: false });
const done = (text: string) => ({ session: "1", text, isDone: true });

test("while text comes, it grows by whole lines", () => {
  assert.equal(grown("one", streaming("one two"), 0), undefined);
  assert.equal(grown("one", streaming("one two\nthr"), 0), "one two");
  assert.equal(grown("one", streaming("one two\r\nthr"), 0), "one two");
});

test("blanks are no reason, nor is what is there already", () => {
  assert.equal(grown("one two", streaming("one two\n    "), 0), undefined);
  assert.equal(grown("one", done("one\n"), 0), undefined);
});

test("what is shown never changes and never shrinks", () => {
  assert.equal(grown("one two", done("one three four"), 0), undefined);
  assert.equal(grown("one two", streaming("one two\n"), 0), undefined);
  assert.equal(grown("one\ntwo", streaming("one\ntwo three"), 0), undefined);
});

test("the end is shown whole, also after the last hop", () => {
  assert.equal(grown("one", done("one two\nthree"), 9), "one two\nthree");
});

test("hops are few", () => {
  assert.equal(grown("one", streaming("one\ntwo\n"), 2), "one\ntwo");
  assert.equal(grown("one", streaming("one\ntwo\n"), 3), undefined);
});

test("auto: not in remote windows, not for screen readers", () => {
  assert.equal(isWanted("auto", undefined, "auto"), true);
  assert.equal(isWanted("auto", "ssh-remote", "auto"), false);
  assert.equal(isWanted("auto", undefined, "on"), false);
  assert.equal(isWanted("on", "ssh-remote", "on"), true);
  assert.equal(isWanted("off", undefined, "auto"), false);
});
