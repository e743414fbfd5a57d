/** Runs a subcommand of `seed-lsp` and shows in the log what it prints. Knows no subcommand. */
import { spawn } from "node:child_process";
import * as vscode from "vscode";
import { variablesFor, type Launch } from "./environment";

/** Run to the end, with a display in the status bar, and show the log. */
export async function runInLog(
  launch: Launch,
  args: readonly string[],
  cwd: string,
  log: vscode.LogOutputChannel,
): Promise<void> {
  log.show(true);
  log.info(`$ seed-lsp ${args.join(" ")}`);
  const title = `Seed: ${args[0] ?? ""}`;
  const options = { location: vscode.ProgressLocation.Window, title };
  await vscode.window.withProgress(options, () => run(launch, args, cwd, log));
}

function run(
  launch: Launch,
  args: readonly string[],
  cwd: string,
  log: vscode.LogOutputChannel,
): Promise<void> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...variablesFor(launch.origin), NO_COLOR: "1", COLUMNS: "100" };
    const child = spawn(launch.program, [...launch.args, ...args], { cwd, env });
    const say = (data: Buffer): void => {
      for (const line of data.toString().trimEnd().split("\n")) log.info(line);
    };
    child.stdout.on("data", say);
    child.stderr.on("data", say);
    child.on("error", (error) => {
      log.warn(`${launch.program} does not start: ${error.message}`);
      resolve();
    });
    child.on("close", () => resolve());
  });
}
