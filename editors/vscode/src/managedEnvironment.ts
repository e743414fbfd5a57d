/**
 * An environment of our own: made in VS Code's storage for this extension, from the server's
 * sources that come with it, if the person agrees.
 *
 * Knows neither which environment is used nor how a server is started.
 */
import { spawn } from "node:child_process";
import { promises as fs } from "node:fs";
import * as path from "node:path";
import * as vscode from "vscode";
import { isExecutable } from "./discovery";
import { safeFolders, variablesFor } from "./environment";
import { ARCHIVE_FOLDER, PYTHONS, stepsOf, type Step } from "./installation";

/** Says that the environment is whole, and for which version of the extension. */
const MARK = "seed-version";
const CHECK = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";

/** Why there is no environment; for a person. */
export class SetUpError extends Error {}

export class ManagedEnvironment {
  private readonly folder: string;
  private readonly version: string;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {
    this.folder = path.join(context.globalStorageUri.fsPath, "environment");
    this.version = (context.extension.packageJSON as { version: string }).version;
  }

  /** Its Python, if the environment is whole and made by this version. */
  async python(): Promise<string | undefined> {
    try {
      const mark = await fs.readFile(path.join(this.folder, MARK), "utf8");
      const python = path.join(this.folder, "bin", "python");
      return mark === this.version && (await isExecutable(python)) ? python : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Make it, with a progress display that can be cancelled.
   *
   * @throws SetUpError if it cannot be made, or was cancelled.
   */
  async create(): Promise<void> {
    const options = {
      location: vscode.ProgressLocation.Notification,
      cancellable: true,
      title: "Seed",
    };
    await vscode.window.withProgress(options, async (progress, token) => {
      const say = (message: string): void => progress.report({ message });
      try {
        await this.make(say, token);
      } catch (error) {
        await fs.rm(this.folder, { recursive: true, force: true });
        throw error;
      }
    });
  }

  private async make(
    say: (message: string) => void,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const archive = await this.archive();
    const python = await findPython();
    await fs.rm(this.folder, { recursive: true, force: true });
    await fs.mkdir(path.dirname(this.folder), { recursive: true });
    for (const step of stepsOf(python, this.folder, archive)) {
      say(step.message);
      await this.run(step, token);
    }
    await fs.writeFile(path.join(this.folder, MARK), this.version);
  }

  private async archive(): Promise<string> {
    const folder = this.context.asAbsolutePath(ARCHIVE_FOLDER);
    const names = await fs.readdir(folder).catch(() => [] as string[]);
    const name = names.find((it) => it.endsWith(".tar.gz"));
    if (name === undefined) {
      throw new SetUpError(
        "This build of the extension comes without the server. Install seed-lsp yourself and name it in the setting seed-lsp.server.command.",
      );
    }
    return path.join(folder, name);
  }

  private run(step: Step, token: vscode.CancellationToken): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = spawn(step.program, step.args, {
        cwd: path.dirname(this.folder),
        env: { ...process.env, ...variablesFor("managed") },
        detached: true, // so that what it starts can be stopped along with it
      });
      const log = (data: Buffer): void => {
        for (const line of data.toString().split("\n").filter((it) => it.trim() !== "")) {
          this.log.info(line.trimEnd());
        }
      };
      child.stdout.on("data", log);
      child.stderr.on("data", log);
      const cancellation = token.onCancellationRequested(() => {
        if (child.pid !== undefined) process.kill(-child.pid);
      });
      const end = (code: number | null): void => {
        cancellation.dispose();
        if (code === 0) resolve();
        else if (token.isCancellationRequested) reject(new SetUpError("The set-up was cancelled."));
        else reject(new SetUpError(`${step.failure} The log says more.`));
      };
      child.on("error", () => end(null));
      child.on("close", end);
    });
  }
}

/** A Python that can make environments. */
async function findPython(): Promise<string> {
  const own = (vscode.workspace.workspaceFolders ?? []).map((folder) => folder.uri.fsPath);
  const folders = safeFolders(process.env["PATH"] ?? "", own);
  for (const name of PYTHONS) {
    for (const folder of folders) {
      const python = path.join(folder, name);
      if ((await isExecutable(python)) && (await isGoodEnough(python))) return python;
    }
  }
  throw new SetUpError(
    "There is no Python 3.11 or newer with venv on PATH. On Debian and Ubuntu: apt install python3-venv.",
  );
}

function isGoodEnough(python: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(python, ["-I", "-c", CHECK], { cwd: "/", stdio: "ignore" });
    child.on("error", () => resolve(false));
    child.on("close", (code) => resolve(code === 0));
  });
}
