/** Where VS Code begins. Puts the parts together; decides nothing. */
import * as vscode from "vscode";
import { registerCommands } from "./commands";
import { CursorRest } from "./cursorRest";
import { InlineCompletions } from "./inlineCompletions";
import { ManagedEnvironment } from "./managedEnvironment";
import { Server } from "./server";
import { offerSetUp } from "./setup";
import { StatusItem } from "./statusItem";

const READY = "seed.isReady";

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("seed-lsp", { log: true });
  const completions = new InlineCompletions();
  const managed = new ManagedEnvironment(context, log);
  const status = new StatusItem();
  const started = (server = new Server(context, log, completions, managed));
  const rest = new CursorRest((place) => started.tellRest(place));
  context.subscriptions.push(
    log,
    completions,
    status,
    started,
    registerCommands(started, completions, managed),
    rest,
    started.onCondition((condition) => {
      status.show(condition);
      if (condition.state === "starting" || condition.state === "restarting") rest.forget();
      if (condition.state !== "ready") return;
      void vscode.commands.executeCommand("setContext", READY, true);
      rest.wait();
    }),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("seed-lsp.server")) void started.start();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => {
      if (started.condition.state === "missing") void started.start();
    }),
  );
  void begin(context, started, managed);
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

async function begin(
  context: vscode.ExtensionContext,
  server: Server,
  managed: ManagedEnvironment,
): Promise<void> {
  await server.start();
  if (server.condition.state === "missing") await offerSetUp(context, server, managed);
}
