/** The item in the status bar. Knows what to show, not why it is so. */
import * as vscode from "vscode";
import { statusText, type Condition } from "./statusText";

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem(
    "seed.status",
    vscode.StatusBarAlignment.Right,
    100,
  );

  constructor() {
    this.item.name = "Seed";
    this.item.command = "seed.menu";
    this.item.show();
  }

  show(condition: Condition): void {
    const { text, tooltip, label, isError } = statusText(condition);
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.accessibilityInformation = { label, role: "button" };
    this.item.backgroundColor = isError
      ? new vscode.ThemeColor("statusBarItem.errorBackground")
      : undefined;
  }

  dispose(): void {
    this.item.dispose();
  }
}
