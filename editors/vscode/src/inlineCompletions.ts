/**
 * The client's side of inline completions: answers from the session cache where it can, asks the
 * server where it cannot, and lets what is on screen grow while nothing is typed.
 *
 * Knows neither how the server is started nor what a status looks like.
 */
import * as vscode from "vscode";
import type { Middleware } from "vscode-languageclient/node";
import { FreshSuggestions } from "./freshSuggestions";
import { grown, isWanted, PAUSE_MS } from "./growth";
import { isSame, type Place } from "./place";
import type { Update } from "./protocol";
import { SECTION } from "./settings";
import { SessionCache, type Cached } from "./sessionCache";

type Next = Parameters<NonNullable<Middleware["provideInlineCompletionItems"]>>[4];
type Answer = vscode.InlineCompletionItem[] | vscode.InlineCompletionList | null | undefined;

export const ACCEPT = "seed.accept";
const OFFERING = "seed.isOffering";

/** What VS Code was given last, and so may be showing. */
interface Shown {
  readonly place: Place;
  readonly session: string;
  readonly text: string;
  readonly time: number;
}

/** What VS Code is about to ask for, because we had it ask. */
interface Expected {
  readonly place: Place;
  readonly cached: Cached;
}

export class InlineCompletions implements vscode.Disposable {
  private readonly cache = new SessionCache();
  private readonly fresh = new FreshSuggestions();
  private readonly disposables: vscode.Disposable[];
  private shown: Shown | undefined;
  private expected: Expected | undefined;
  private timer: NodeJS.Timeout | undefined;
  /** Hops since the last key or request. */
  private numHops = 0;
  private isOffering = false;

  constructor() {
    this.disposables = [
      this.fresh,
      vscode.workspace.onDidChangeTextDocument((event) => this.follow(event)),
      vscode.workspace.onDidCloseTextDocument((document) => this.forget(uriOf(document))),
    ];
  }

  /** Middleware: what VS Code shows for a position. */
  async provide(
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
    next: Next,
  ): Promise<Answer> {
    const place = { uri: uriOf(document), version: document.version, position };
    const isByItself = context.triggerKind === vscode.InlineCompletionTriggerKind.Automatic;
    const isPlain = context.selectedCompletionInfo === undefined;
    const cached = this.expectedAt(place) ?? (isByItself ? this.cache.find(place) : undefined);
    if (cached !== undefined && isPlain) {
      this.show(place, cached.session, cached.text);
      return [itemOf(document, position, cached)];
    }
    this.shown = undefined;
    this.numHops = 0;
    const answer = await next(document, position, context, token);
    // Other texts are worked out once one was asked for: they are there if it is asked again.
    if (!isByItself && itemsOf(answer).length === 1) this.fresh.renew();
    if (!token.isCancellationRequested && document.version === place.version && isPlain) {
      this.remember(document, place, answer);
    }
    return answer;
  }

  /** The server has more text, or no more. */
  receive(update: Update): void {
    const document = vscode.workspace.textDocuments.find((it) => uriOf(it) === update.uri);
    if (document === undefined) return;
    const { line, character } = update.item.range.start;
    const rest = line < document.lineCount ? document.lineAt(line).text.slice(character) : "";
    if (this.cache.update(update, document.version, rest)) this.growLater();
  }

  /** Nothing of this document's prediction is to come back by itself. */
  forget(uri: string): void {
    this.cache.drop(uri);
    if (this.shown?.place.uri === uri) this.hide();
  }

  /** Nothing is to be shown any more, whatever was predicted. */
  clear(): void {
    this.cache.clear();
    this.hide();
  }

  dispose(): void {
    clearTimeout(this.timer);
    vscode.Disposable.from(...this.disposables).dispose();
  }

  private follow(event: vscode.TextDocumentChangeEvent): void {
    const changes = event.contentChanges.map((change) => ({
      start: change.range.start,
      removed: change.rangeLength,
      text: change.text,
    }));
    const uri = uriOf(event.document);
    this.cache.change(uri, event.document.version, changes);
    if (changes.length > 0 && this.shown?.place.uri === uri) {
      this.shown = undefined; // VS Code will ask, and be told again
      this.numHops = 0;
    }
  }

  private remember(document: vscode.TextDocument, place: Place, answer: Answer): void {
    const items = itemsOf(answer);
    const [item] = items;
    const session: unknown = item?.command?.arguments?.[1];
    if (item === undefined || typeof item.insertText !== "string") return this.hide();
    if (typeof session !== "string" || item.range === undefined) return this.hide();
    if (!isSame(item.range.start, place.position)) return this.hide();
    const rest = document.getText(item.range);
    const text = item.insertText.slice(0, item.insertText.length - rest.length);
    const lineRest = document.lineAt(place.position.line).text.slice(place.position.character);
    this.cache.offer(place, session, text, lineRest);
    this.show(place, session, text);
    // A person looks at one of several: that one stays.
    if (items.length === 1) this.growLater();
    else this.shown = undefined;
  }

  private show(place: Place, session: string, text: string): void {
    this.shown = { place, session, text, time: Date.now() };
    this.setOffering(true);
  }

  private hide(): void {
    this.shown = undefined;
    clearTimeout(this.timer);
    this.setOffering(false);
  }

  private setOffering(isOffering: boolean): void {
    if (this.isOffering === isOffering) return;
    this.isOffering = isOffering;
    void vscode.commands.executeCommand("setContext", OFFERING, isOffering);
  }

  private expectedAt(place: Place): Cached | undefined {
    const expected = this.expected;
    if (expected === undefined || expected.place.version !== place.version) return undefined;
    if (expected.place.uri !== place.uri) return undefined;
    return isSame(expected.place.position, place.position) ? expected.cached : undefined;
  }

  /** Look whether what is shown may grow, at the earliest a moment after it was shown. */
  private growLater(): void {
    const shown = this.shown;
    // While a hop is on its way its end looks again: two of them would go back and forth.
    if (shown === undefined || this.expected?.place.version === shown.place.version) return;
    clearTimeout(this.timer);
    const wait = Math.max(shown.time + PAUSE_MS - Date.now(), 0);
    this.timer = setTimeout(() => void this.grow(), wait);
  }

  private async grow(): Promise<void> {
    const shown = this.shown;
    if (shown === undefined || !isStillAt(shown.place) || !mayGrow()) return;
    const cached = this.cache.find(shown.place);
    if (cached === undefined || cached.session !== shown.session) return;
    const text = grown(shown.text, cached, this.numHops);
    if (text === undefined) return;
    this.numHops += 1;
    const expected = { place: shown.place, cached: { ...cached, text } };
    this.expected = expected;
    try {
      await this.fresh.showNext(() => this.expected === expected && isStillAt(shown.place));
    } finally {
      if (this.expected === expected) this.expected = undefined;
    }
    if (this.shown?.text === text) this.growLater();
    else if (this.shown === shown) this.hide(); // nothing was visible: it was dismissed
  }
}

function itemsOf(answer: Answer): readonly vscode.InlineCompletionItem[] {
  return Array.isArray(answer) ? answer : (answer?.items ?? []);
}

function uriOf(document: vscode.TextDocument): string {
  return document.uri.toString();
}

/** The item that VS Code shows for a text; as the server would make it. */
function itemOf(
  document: vscode.TextDocument,
  position: vscode.Position,
  cached: Cached,
): vscode.InlineCompletionItem {
  const isLong = /[\r\n]/.test(cached.text);
  const end = isLong ? document.lineAt(position.line).range.end : position;
  const range = new vscode.Range(position, end);
  return new vscode.InlineCompletionItem(cached.text + document.getText(range), range, {
    title: "Accepted",
    command: ACCEPT,
    arguments: [uriOf(document), cached.session],
  });
}

/** Whether the person is where a text was shown, and does nothing else. */
function isStillAt(place: Place): boolean {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined || !vscode.window.state.focused) return false;
  const { document, selections } = editor;
  const selection = selections.length === 1 ? selections[0] : undefined;
  return (
    uriOf(document) === place.uri &&
    document.version === place.version &&
    selection !== undefined &&
    selection.isEmpty &&
    isSame(selection.active, place.position)
  );
}

function mayGrow(): boolean {
  const setting = vscode.workspace.getConfiguration(SECTION).get("growWhileIdle", "auto");
  const support = vscode.workspace
    .getConfiguration("editor")
    .get<string>("accessibilitySupport", "auto");
  return isWanted(setting, vscode.env.remoteName, support);
}
