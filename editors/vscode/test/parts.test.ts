import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inspectionText } from "../src/inspectionText";
import { stepsOf } from "../src/installation";
import { behind } from "../src/place";
import { Restarts } from "../src/restarts";
import { serverSettings, setValues, type Manifest } from "../src/settings";

test("only what somebody has set is told, the nearest first", () => {
  const known: Record<string, object> = {
    mode: { defaultValue: "exact" },
    maxLines: { globalValue: 3, workspaceValue: 5 },
    threads: { globalValue: null },
    ahead: { globalValue: false },
  };
  const names = [...Object.keys(known), "unknown"];
  assert.deepEqual(
    setValues(names, (name) => known[name]),
    { maxLines: 5, ahead: false },
  );
});

test("the server is told nothing of the extension's own settings", () => {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;
  const names = serverSettings(manifest);
  assert.ok(names.includes("maxLines"));
  for (const own of ["server.command", "trace.server", "growWhileIdle"]) {
    assert.equal(names.includes(own), false, own);
  }
});

test("a server that dies is started again four times within three minutes", () => {
  const restarts = new Restarts();
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((time) => restarts.mayRestart(time)),
    [true, true, true, true, false],
  );
  assert.equal(restarts.mayRestart(3 * 60_000), true);
});

test("an environment is made without looking at the folder where one is", () => {
  const steps = stepsOf("/usr/bin/python3.12", "/storage/environment", "/ext/server.tar.gz");
  assert.ok(steps.every((step) => step.args[0] === "-I"));
  assert.equal(steps[0]?.program, "/usr/bin/python3.12");
  assert.ok(steps.slice(1).every((it) => it.program === "/storage/environment/bin/python"));
  assert.ok(steps[1]?.args.includes("/ext/server.tar.gz"));
});

test("positions move behind what was put in", () => {
  const start = { line: 1, character: 2 };
  assert.deepEqual(behind(start, "abc"), { line: 1, character: 5 });
  assert.deepEqual(behind(start, "a\r\nbc\n"), { line: 3, character: 0 });
  assert.deepEqual(behind(start, "😀"), { line: 1, character: 4 });
});

test("what the model was shown cannot break out of its code block", () => {
  const part = { source: "prefix", path: null, text: "````\n# no title", chars: 16, tokens: null };
  const found = {
    ...{ session: "1", uri: "file:///a.py", model: "m", mode: "exact", layout: "spm" },
    ...{ refusal: null, masked_chars: 3, excluded: [{ path: ".env", reason: "a secret" }] },
    ...{ parts: [part], cost: { tokens: 5 } },
  };
  const text = inspectionText(found);
  assert.ok(text.includes("`````\n````\n# no title\n`````"));
  assert.match(text, /3 characters of secrets/);
  assert.match(text, /`\.env`: a secret/);
});
