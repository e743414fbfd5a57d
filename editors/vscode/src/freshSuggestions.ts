/**
 * Puts another suggestion in the place of the one on screen, without a moment between the two.
 *
 * "Show next" asks the providers anew, keeps what is on screen in front of their answers, and goes
 * on to the one behind it; where nothing is on screen it does nothing. But VS Code asks only if
 * something has changed since it asked last, such as a provider that it has not asked. So each time
 * there is a new one, which never has anything. (Hiding and triggering shows nothing until the answer is
 * there, and brings back what was dismissed.) Knows nothing of the suggestions.
 */
import * as vscode from "vscode";
import { SCHEMES } from "./client";

const SHOW_NEXT = "editor.action.inlineSuggest.showNext";
const SELECTOR = SCHEMES.map((scheme) => ({ scheme }));

export class FreshSuggestions implements vscode.Disposable {
  private silent: vscode.Disposable | undefined;

  /** Ask our providers anew and show what they answer behind what is on screen. */
  async showNext(): Promise<void> {
    this.renew();
    await vscode.commands.executeCommand(SHOW_NEXT);
    this.renew(); // so that a person who asks for other texts is not shown the shorter one again
  }

  private renew(): void {
    this.dispose();
    const provider = { provideInlineCompletionItems: () => undefined };
    this.silent = vscode.languages.registerInlineCompletionItemProvider(SELECTOR, provider);
  }

  dispose(): void {
    this.silent?.dispose();
    this.silent = undefined;
  }
}
