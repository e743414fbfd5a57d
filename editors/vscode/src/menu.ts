/** What a click on the status bar offers. Knows commands by their names only. */
import * as vscode from "vscode";
import type { Condition } from "./statusText";

interface Choice extends vscode.QuickPickItem {
  readonly command: string;
  readonly args?: readonly unknown[];
}

/** Let the person choose what to do about a condition. */
export async function showMenu(condition: Condition): Promise<void> {
  const choice = await vscode.window.showQuickPick(choicesFor(condition), {
    title: "Seed",
    placeHolder: condition.message,
  });
  if (choice !== undefined) {
    await vscode.commands.executeCommand(choice.command, ...(choice.args ?? []));
  }
}

function choicesFor(condition: Condition): Choice[] {
  const language = vscode.window.activeTextEditor?.document.languageId;
  const settings: Choice = {
    label: "$(gear) Settings",
    command: "workbench.action.openSettings",
    args: ["seed-lsp."],
  };
  const log: Choice = { label: "$(output) Show the log", command: "seed.showLog" };
  if (condition.state === "missing") {
    return [{ label: "$(cloud-download) Set up", command: "seed.setUp" }, settings, log];
  }
  const isOff = condition.reason === "off";
  return [
    { label: isOff ? "$(check) Turn on" : "$(circle-slash) Turn off", command: "seed.toggle" },
    ...(condition.reason === "snoozed"
      ? [{ label: "$(bell) Wake up", command: "seed.snooze", args: [0] }]
      : [{ label: "$(bell-slash) Snooze …", command: "seed.snooze" }]),
    ...(language === undefined
      ? []
      : [{ label: `$(code) Turn on or off for ${language}`, command: "seed.toggleLanguage" }]),
    { label: "$(question) Why are there completions, or none?", command: "seed.explain" },
    { label: "$(eye) Show what the model was shown", command: "seed.inspect" },
    { label: "$(pulse) Check everything (doctor)", command: "seed.doctor" },
    { label: "$(debug-restart) Restart", command: "seed.restart" },
    settings,
    log,
  ];
}
