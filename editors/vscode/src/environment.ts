/**
 * Which program serves: what the person set, then the workspace's own Python if the workspace is
 * trusted, then `seed-lsp` on PATH, then the environment that this extension has made.
 *
 * Asks for everything that it has to know; touches neither disk nor processes nor VS Code.
 */
import * as path from "node:path";

export type Origin = "setting" | "workspace" | "path" | "managed";

/** A program to start, without `--stdio`. */
export interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly origin: Origin;
}

/** Where to look. */
export interface Places {
  readonly command: readonly string[];
  /** What `~` stands for in the command. */
  readonly home: string;
  readonly isTrusted: boolean;
  readonly workspaceFolders: readonly string[];
  /** The variable PATH. */
  readonly searchPath: string;
  /** Interpreters that the workspace names, the best first. */
  workspacePythons(): Promise<readonly string[]>;
  /** Whether a Python has the server. */
  hasServer(python: string): Promise<boolean>;
  isExecutable(file: string): Promise<boolean>;
  /** The Python of the environment that this extension has made, if it is whole and current. */
  managedPython(): Promise<string | undefined>;
}

const PYTHON = /^python(\d(\.\d+)?)?(\.exe)?$/i;

/** The program to start; undefined if there is none yet. */
export async function choose(places: Places): Promise<Launch | undefined> {
  return (
    ofSetting(places) ??
    (await ofWorkspace(places)) ??
    (await ofSearchPath(places)) ??
    (await ofManaged(places))
  );
}

/** What a Python runs: isolated, so that no folder of a project is looked at for modules. */
export function ofPython(python: string, origin: Origin): Launch {
  return { program: python, args: ["-I", "-m", "lsp_server"], origin };
}

/** The absolute folders of PATH outside the workspace: a project puts no programs in our way. */
export function safeFolders(searchPath: string, workspaceFolders: readonly string[]): string[] {
  return searchPath
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder))
    .filter((folder) => !workspaceFolders.some((own) => isWithin(folder, own)));
}

/**
 * Variables that a server is started with, beside those of the editor; undefined takes one away.
 *
 * Python's own variables point into a project as often as not, so they count only for a command
 * that the person has set.
 */
export function variablesFor(origin: Origin): Record<string, string | undefined> {
  const safe = { PYTHONSAFEPATH: "1", PYTHONUNBUFFERED: undefined };
  return origin === "setting"
    ? safe
    : { ...safe, PYTHONPATH: undefined, PYTHONHOME: undefined, PYTHONSTARTUP: undefined };
}

function ofSetting(places: Places): Launch | undefined {
  const [given, ...args] = places.command;
  if (given === undefined || given === "") return undefined;
  const program = given.startsWith("~/") ? path.join(places.home, given.slice(2)) : given;
  if (args.length === 0 && PYTHON.test(path.basename(program))) return ofPython(program, "setting");
  return { program, args, origin: "setting" };
}

async function ofWorkspace(places: Places): Promise<Launch | undefined> {
  if (!places.isTrusted) return undefined;
  for (const python of await places.workspacePythons()) {
    if (await places.hasServer(python)) return ofPython(python, "workspace");
  }
  return undefined;
}

async function ofSearchPath(places: Places): Promise<Launch | undefined> {
  for (const folder of safeFolders(places.searchPath, places.workspaceFolders)) {
    const program = path.join(folder, "seed-lsp");
    if (await places.isExecutable(program)) return { program, args: [], origin: "path" };
  }
  return undefined;
}

async function ofManaged(places: Places): Promise<Launch | undefined> {
  const python = await places.managedPython();
  return python === undefined ? undefined : ofPython(python, "managed");
}

function isWithin(inner: string, outer: string): boolean {
  const relative = path.relative(outer, inner);
  return !relative.startsWith("..") && !path.isAbsolute(relative);
}
