/**
 * Rewriting what is selected by an instruction in the person's words.
 *
 * The server works it out and has VS Code show the difference; here the words are asked for, and
 * what there is to say is said. Knows neither prompts nor diffs.
 */
import * as vscode from "vscode";
import type { Range, Rewritten } from "./protocol";
import type { Server } from "./server";

const REWRITE = "seed.rewrite";
const SAID_MS = 10_000;

/** What is to be rewritten: as the server's code action says it, or where the cursor is. */
export interface Target {
  readonly uri: string;
  readonly range: Range;
  readonly version: number | null;
}

let lastInstruction = "";

/** Ask what is to be done with a place, and do it. */
export async function rewrite(server: Server, given: unknown): Promise<void> {
  const target = isTarget(given) ? given : targetOfEditor();
  const client = server.running;
  if (target === undefined || client === undefined) {
    const message = client === undefined ? server.condition.message : "There is no code open.";
    void vscode.window.showInformationMessage(message);
    return;
  }
  const instruction = await vscode.window.showInputBox({
    title: "Rewrite the selection",
    prompt: "What is to be done with this code? The difference is shown before anything changes.",
    placeHolder: "handle an empty list",
    value: lastInstruction,
    validateInput: (text) => (text.trim() === "" ? "A few words are needed." : undefined),
  });
  if (instruction === undefined) return;
  lastInstruction = instruction;
  const { numEditsShown, numEditsCancelled } = server;
  try {
    const order = { ...target, instruction };
    const { applied, message } = await client.execute<Rewritten>(REWRITE, [order]);
    // Who has seen the difference and said no, or has cancelled, needs no message about it.
    const isKnown =
      server.numEditsShown > numEditsShown || server.numEditsCancelled > numEditsCancelled;
    if (applied) vscode.window.setStatusBarMessage(message, SAID_MS);
    else if (!isKnown) void vscode.window.showInformationMessage(message);
  } catch (error) {
    server.log.info(`The rewrite failed: ${String(error)}`);
    vscode.window.setStatusBarMessage("Seed: nothing was rewritten, see the log.", SAID_MS);
  }
}

function targetOfEditor(): Target | undefined {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) return undefined;
  const { document, selection } = editor;
  const [start, end] = [selection.start, selection.end].map(({ line, character }) => ({
    line,
    character,
  }));
  if (start === undefined || end === undefined) return undefined;
  return { uri: document.uri.toString(), range: { start, end }, version: document.version };
}

function isTarget(given: unknown): given is Target {
  return typeof given === "object" && given !== null && "uri" in given && "range" in given;
}
