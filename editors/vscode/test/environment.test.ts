import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, safeFolders, variablesFor, type Places } from "../src/environment";

/** A machine that has everything; each test takes something away. */
function places(more: Partial<Places> = {}): Places {
  return {
    command: [],
    home: "/home/me",
    isTrusted: true,
    workspaceFolders: ["/project"],
    searchPath: "/usr/local/bin:/usr/bin",
    workspacePythons: async () => ["/project/.venv/bin/python"],
    hasServer: async () => true,
    isExecutable: async (file) => file === "/usr/bin/seed-lsp",
    managedPython: async () => "/storage/environment/bin/python",
    ...more,
  };
}

const ISOLATED = ["-I", "-m", "lsp_server"];

test("the setting comes first", async () => {
  const command = ["/opt/seed-lsp", "--offline"];
  const launch = await choose(places({ command }));
  assert.deepEqual(launch, { program: "/opt/seed-lsp", args: ["--offline"], origin: "setting" });
});

test("a Python in the setting runs the server, isolated", async () => {
  for (const name of ["python", "python3", "python3.12"]) {
    const launch = await choose(places({ command: [`/opt/bin/${name}`] }));
    assert.deepEqual(launch?.args, ISOLATED);
  }
  const launch = await choose(places({ command: ["/opt/bin/python-wrapper"] }));
  assert.deepEqual(launch?.args, []);
});

test("~ is the home folder", async () => {
  const launch = await choose(places({ command: ["~/seed-lsp/.venv/bin/seed-lsp"] }));
  assert.equal(launch?.program, "/home/me/seed-lsp/.venv/bin/seed-lsp");
});

test("then the workspace's own Python, if it has the server", async () => {
  const launch = await choose(places());
  assert.deepEqual(launch, {
    program: "/project/.venv/bin/python",
    args: ISOLATED,
    origin: "workspace",
  });
  assert.equal((await choose(places({ hasServer: async () => false })))?.origin, "path");
});

test("nothing of an untrusted workspace is run, not even to look", async () => {
  const never = async (): Promise<never> => assert.fail("it was looked at");
  const launch = await choose(
    places({ isTrusted: false, workspacePythons: never, hasServer: never }),
  );
  assert.equal(launch?.program, "/usr/bin/seed-lsp");
});

test("then the environment of our own, then nothing", async () => {
  const bare = { workspacePythons: async () => [], isExecutable: async () => false };
  assert.deepEqual(await choose(places(bare)), {
    program: "/storage/environment/bin/python",
    args: ISOLATED,
    origin: "managed",
  });
  assert.equal(await choose(places({ ...bare, managedPython: async () => undefined })), undefined);
});

test("PATH counts without relative folders and those of the workspace", () => {
  const path = "bin:.::/project/bin:/project:/projects/bin:/usr/bin";
  assert.deepEqual(safeFolders(path, ["/project"]), ["/projects/bin", "/usr/bin"]);
});

test("Python's variables are kept only for a command that the person has set", () => {
  assert.equal("PYTHONPATH" in variablesFor("setting"), false);
  const taken = variablesFor("path");
  assert.ok("PYTHONPATH" in taken);
  assert.equal(taken["PYTHONPATH"], undefined);
  assert.equal(taken["PYTHONSAFEPATH"], "1");
});
