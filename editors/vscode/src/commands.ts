/**
 * The commands of the palette, of the status bar's menu and of the few keys.
 *
 * Each is a few lines: what is to be known comes from the server, what is to be done it does. Knows
 * neither how the server runs nor how completions get on screen.
 */
import * as vscode from "vscode";
import { Documents } from "./documents";
import { ACCEPT, type InlineCompletions } from "./inlineCompletions";
import { inspectionText } from "./inspectionText";
import type { ManagedEnvironment } from "./managedEnvironment";
import { showMenu } from "./menu";
import {
  EXPLAIN,
  INSPECT,
  type Explanation,
  type Inspection,
  type LastSuggestion,
} from "./protocol";
import { rewrite } from "./rewriting";
import type { Server } from "./server";
import { SECTION } from "./settings";
import { setUp } from "./setup";
import { runInLog } from "./terminal";

const HIDE = "editor.action.inlineSuggest.hide";
const COMMIT = "editor.action.inlineSuggest.commit";
const TRIGGER = "editor.action.inlineSuggest.trigger";
const RESTART_TIMEOUT_MS = 3000;

/** Register all of them. */
export function registerCommands(
  server: Server,
  completions: InlineCompletions,
  managed: ManagedEnvironment,
): vscode.Disposable {
  const documents = new Documents();
  const commands: Record<string, (...args: unknown[]) => unknown> = {
    [ACCEPT]: (...args) => ask(server, (client) => client.execute(ACCEPT, args), true),
    "seed.dismiss": () => dismiss(server, completions),
    "seed.nextBlock": () =>
      vscode.commands.executeCommand("runCommands", { commands: [COMMIT, TRIGGER] }),
    "seed.restart": () => restart(server),
    "seed.toggle": () => ask(server, (client) => client.execute("seed.toggle", [])),
    "seed.toggleLanguage": () => toggleLanguage(),
    "seed.snooze": (minutes) => snooze(server, minutes),
    "seed.rewriteSelection": () => rewrite(server, undefined),
    "seed.askInstruction": (target) => rewrite(server, target),
    "seed.lastSuggestion": () => lastSuggestion(server),
    "seed.explain": () => explain(server),
    "seed.inspect": () => inspect(server, documents),
    "seed.doctor": () => inLog(server, ["doctor"]),
    "seed.stats": () => inLog(server, ["stats"]),
    "seed.showLog": () => server.log.show(),
    "seed.setUp": () => setUp(server, managed),
    "seed.menu": () => showMenu(server.condition),
  };
  const registrations = Object.entries(commands).map(([name, run]) =>
    vscode.commands.registerCommand(name, run),
  );
  return vscode.Disposable.from(documents, ...registrations);
}

/** Something of the server's; says why if there is none, unless VS Code runs this by itself. */
async function ask<Result>(
  server: Server,
  question: (client: NonNullable<Server["running"]>) => Promise<Result>,
  isSilent = false,
): Promise<Result | undefined> {
  const client = server.running;
  if (client === undefined) {
    if (!isSilent) void vscode.window.showInformationMessage(server.condition.message);
    return undefined;
  }
  try {
    return await question(client);
  } catch (error) {
    server.log.info(`The server has not answered: ${String(error)}`);
    return undefined;
  }
}

async function dismiss(server: Server, completions: InlineCompletions): Promise<void> {
  await vscode.commands.executeCommand(HIDE);
  const uri = vscode.window.activeTextEditor?.document.uri.toString();
  if (uri === undefined) return;
  completions.forget(uri);
  await ask(server, (client) => client.execute("seed.dismiss", [uri]), true);
}

async function restart(server: Server): Promise<void> {
  const patience = new Promise((resolve) => setTimeout(resolve, RESTART_TIMEOUT_MS));
  const fresh = ask(server, (client) => client.execute("seed.restart", []), true);
  await Promise.race([fresh, patience]);
  await server.start();
}

async function toggleLanguage(): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (language === undefined) {
    void vscode.window.showInformationMessage("Open a file of the language first.");
    return;
  }
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const known = configuration.inspect<string[]>("offLanguages")?.globalValue ?? [];
  const isOff = known.includes(language);
  const languages = isOff ? known.filter((it) => it !== language) : [...known, language];
  await configuration.update("offLanguages", languages, vscode.ConfigurationTarget.Global);
  const state = isOff ? "on" : "off";
  vscode.window.setStatusBarMessage(`Seed: completions are ${state} for ${language}.`, 5000);
}

async function snooze(server: Server, given: unknown): Promise<void> {
  const isSnoozed = server.condition.reason === "snoozed";
  const choices = [
    ...(isSnoozed ? [{ label: "Wake up now", minutes: 0 }] : []),
    ...[5, 15, 60].map((minutes) => ({ label: `${minutes} minutes`, minutes })),
  ];
  const minutes =
    typeof given === "number"
      ? given
      : (await vscode.window.showQuickPick(choices, { title: "No completions for" }))?.minutes;
  if (minutes !== undefined) await ask(server, (it) => it.execute("seed.snooze", [minutes]));
}

async function lastSuggestion(server: Server): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) return;
  const uri = editor.document.uri.toString();
  const last = await ask(server, (client) =>
    client.execute<LastSuggestion | null>("seed.lastSuggestion", [uri]),
  );
  if (last === undefined) return;
  if (last === null) {
    void vscode.window.showInformationMessage("There was no suggestion in this file yet.");
    return;
  }
  const choices = [
    { label: "$(insert) Insert at the cursor", detail: last.text.trim(), isInserted: true },
    { label: "$(copy) Copy", detail: `It was for line ${last.line + 1}.`, isInserted: false },
  ];
  const choice = await vscode.window.showQuickPick(choices, { title: "The last suggestion" });
  if (choice?.isInserted) {
    await editor.edit((edit) => edit.insert(editor.selection.active, last.text));
  } else if (choice !== undefined) {
    await vscode.env.clipboard.writeText(last.text);
  }
}

async function explain(server: Server): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined) return;
  const uri = document.uri.toString();
  const found = await ask(server, (client) => client.sendRequest<Explanation>(EXPLAIN, { uri }));
  if (found === undefined) return;
  const latest = found.latest === null ? [] : [`The latest request got nothing: ${found.latest}.`];
  const reasons = found.against.length > 0 ? found.against : ["Nothing speaks against them here."];
  const title = "Completions in this file";
  await vscode.window.showQuickPick([...reasons, ...latest, ...found.notes], { title });
}

async function inspect(server: Server, documents: Documents): Promise<void> {
  const uri = vscode.window.activeTextEditor?.document.uri.toString();
  const found = await ask(server, (client) =>
    client.sendRequest<Inspection | null>(INSPECT, uri === undefined ? {} : { uri }),
  );
  if (found === undefined) return;
  if (found === null) void vscode.window.showInformationMessage("There was no suggestion yet.");
  else await documents.show("/what-the-model-was-shown.md", inspectionText(found));
}

async function inLog(server: Server, args: readonly string[]): Promise<void> {
  if (server.launch === undefined) {
    void vscode.window.showInformationMessage(server.condition.message);
    return;
  }
  await runInLog(server.launch, args, server.folder, server.log);
}
