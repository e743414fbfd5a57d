/**
 * Looks for what `environment` asks about: settings, interpreters, files.
 *
 * Knows neither in which order places count nor how a server is started.
 */
import { execFile } from "node:child_process";
import { constants, promises as fs } from "node:fs";
import { homedir } from "node:os";
import * as path from "node:path";
import * as vscode from "vscode";
import type { Places } from "./environment";

const PROBE = "import importlib.metadata as m; m.version('seed-lsp'); import lsp_server";
const PROBE_TIMEOUT_MS = 10_000;
const PYTHON_EXTENSION = "ms-python.python";

/** What is asked of Microsoft's Python extension, if it is there. */
interface PythonApi {
  readonly environments?: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
  };
}

/** The places of this window. */
export function placesOf(managedPython: () => Promise<string | undefined>): Places {
  const folders = (vscode.workspace.workspaceFolders ?? []).filter(
    (folder) => folder.uri.scheme === "file",
  );
  const settings = vscode.workspace.getConfiguration("seed-lsp");
  return {
    command: settings.get<string[]>("server.command", []),
    home: homedir(),
    isTrusted: vscode.workspace.isTrusted,
    workspaceFolders: folders.map((folder) => folder.uri.fsPath),
    searchPath: process.env["PATH"] ?? "",
    workspacePythons: () => workspacePythons(folders),
    hasServer,
    isExecutable,
    managedPython,
  };
}

/** Whether there is a file that may be run. */
export async function isExecutable(file: string): Promise<boolean> {
  try {
    await fs.access(file, constants.X_OK);
    return (await fs.stat(file)).isFile();
  } catch {
    return false;
  }
}

async function workspacePythons(folders: readonly vscode.WorkspaceFolder[]): Promise<string[]> {
  const chosen: string[] = [];
  const extension = vscode.extensions.getExtension<PythonApi>(PYTHON_EXTENSION);
  for (const folder of folders) {
    // Not activated on its account: whoever uses Python has it running.
    const active = extension?.isActive
      ? extension.exports.environments?.getActiveEnvironmentPath(folder.uri).path
      : undefined;
    const own = [".venv", "venv"].map((name) => path.join(folder.uri.fsPath, name, "bin/python"));
    for (const python of active === undefined ? own : [active, ...own]) {
      if (path.isAbsolute(python) && (await isExecutable(python))) chosen.push(python);
    }
  }
  return chosen;
}

function hasServer(python: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(python, ["-I", "-c", PROBE], { timeout: PROBE_TIMEOUT_MS, cwd: "/" }, (error) =>
      resolve(error === null),
    );
  });
}
