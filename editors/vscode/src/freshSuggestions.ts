/**
 * Puts another suggestion in the place of the one on screen, without a moment between the two.
 *
 * "Show next" asks the providers anew, keeps what is on screen in front of their answers, and goes
 * on to the one behind it; where nothing is on screen it does nothing. But VS Code asks only if
 * something has changed since it asked last, such as a provider that it has not asked. So each time
 * there is a new one, which never has anything. (Hiding and triggering shows nothing until the
 * answer is there, and brings back what was dismissed.) Knows nothing of the suggestions.
 */
import * as vscode from "vscode";
import { SCHEMES } from "./client";

const SHOW_NEXT = "editor.action.inlineSuggest.showNext";
const TRIGGER = "editor.action.inlineSuggest.trigger";
const SELECTOR = SCHEMES.map((scheme) => ({ scheme }));
/** From being asked until all answers are in and shown; another request before that replaces it. */
const SETTLING_MS = 60;
/** After which VS Code will not ask any more. */
const PATIENCE_MS = 2000;

export class FreshSuggestions implements vscode.Disposable {
  private silent: vscode.Disposable | undefined;

  /**
   * Ask our providers anew and show what they answer behind what is on screen.
   *
   * @param isStillWanted asked in between: whether nothing was typed.
   */
  async showNext(isStillWanted: () => boolean): Promise<void> {
    if (!(await this.ask(SHOW_NEXT))) return;
    // What was on screen first still stands in front, and the next key would bring it back. Asked
    // once more, VS Code keeps of the two only the one that is on screen now.
    if (isStillWanted()) await this.ask(TRIGGER);
    this.renew(); // so that a person who asks for other texts is asked for, too
  }

  dispose(): void {
    this.silent?.dispose();
    this.silent = undefined;
  }

  /** Run a command that has VS Code ask; resolves once it has, to whether it did. */
  private ask(command: string): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), PATIENCE_MS);
      this.renew(() => {
        clearTimeout(timer);
        setTimeout(() => resolve(true), SETTLING_MS);
      });
      void vscode.commands.executeCommand(command);
    });
  }

  /** From now on a request by hand is a new one, also where nothing has changed. */
  renew(whenAsked?: () => void): void {
    this.dispose();
    const provider = { provideInlineCompletionItems: () => void whenAsked?.() };
    this.silent = vscode.languages.registerInlineCompletionItemProvider(SELECTOR, provider);
  }
}
