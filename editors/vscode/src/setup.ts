/**
 * The way from no server to one: asked for once, done on consent.
 *
 * Knows neither how an environment is made nor where others are looked for.
 */
import * as vscode from "vscode";
import { SetUpError, type ManagedEnvironment } from "./managedEnvironment";
import type { Server } from "./server";

const DECLINED = "setUpDeclined";
const CONSENT =
  "Seed needs its server: an environment of its own with PyTorch (about 2 GB, several more where pip picks the CUDA build) and 500 MB of weights are fetched. Your code stays on this machine.";
const NAME_ONE = "I have one";

/** Say once that there is something to set up; the status bar keeps saying so. */
export async function offerSetUp(
  context: vscode.ExtensionContext,
  server: Server,
  managed: ManagedEnvironment,
): Promise<void> {
  if (context.globalState.get(DECLINED, false)) return;
  const answer = await vscode.window.showInformationMessage(CONSENT, "Set up", NAME_ONE, "Not now");
  if (answer === "Set up") await create(server, managed);
  else if (answer === NAME_ONE) await openSetting();
  else await context.globalState.update(DECLINED, true);
}

/** Asked for: make the environment after a last question. */
export async function setUp(server: Server, managed: ManagedEnvironment): Promise<void> {
  const options = { modal: true, detail: CONSENT };
  const question = "Set up the server now?";
  const answer = await vscode.window.showInformationMessage(question, options, "Set up", NAME_ONE);
  if (answer === "Set up") await create(server, managed);
  else if (answer === NAME_ONE) await openSetting();
}

async function create(server: Server, managed: ManagedEnvironment): Promise<void> {
  try {
    await managed.create();
  } catch (error) {
    const isKnown = error instanceof SetUpError;
    server.log.warn(isKnown ? error.message : `The set-up has failed: ${String(error)}`);
    const message = isKnown ? error.message : "The set-up has failed: the log says why.";
    const answer = await vscode.window.showWarningMessage(message, "Show the log");
    if (answer !== undefined) server.log.show();
    return;
  }
  await server.start();
}

async function openSetting(): Promise<void> {
  await vscode.commands.executeCommand("workbench.action.openSettings", "seed-lsp.server.command");
}
