/**
 * Tells the server where the cursor or a selection has come to stand, so that it can read there
 * before the first key. VS Code asks for completions where something was typed, and nowhere else.
 *
 * Knows neither the server nor what it does with it.
 */
import * as vscode from "vscode";
import { SCHEMES } from "./client";
import { isSame } from "./place";
import type { CursorRestParams } from "./protocol";

/** So long the cursor has to stand still. */
const REST_MS = 100;

export class CursorRest implements vscode.Disposable {
  private readonly disposables: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;
  private told: CursorRestParams | undefined;

  /** @param tell is told each place once, unless it returns that nobody was there to be told. */
  constructor(private readonly tell: (place: CursorRestParams) => boolean) {
    this.disposables = [
      vscode.window.onDidChangeTextEditorSelection(() => this.wait()),
      vscode.window.onDidChangeActiveTextEditor(() => this.wait()),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    vscode.Disposable.from(...this.disposables).dispose();
  }

  /** Look once the cursor has stood still for a moment. */
  wait(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), REST_MS);
  }

  /** Whoever was told is gone: tell the next one. */
  forget(): void {
    this.told = undefined;
  }

  private look(): void {
    const place = placeOf(vscode.window.activeTextEditor);
    if (place === undefined || isSamePlace(place, this.told)) return;
    if (this.tell(place)) this.told = place;
  }
}

/** Where something could be typed, or over what; undefined for several cursors or no file. */
function placeOf(editor: vscode.TextEditor | undefined): CursorRestParams | undefined {
  const selection = editor?.selections.length === 1 ? editor.selections[0] : undefined;
  if (editor === undefined || selection === undefined) return undefined;
  const { uri, version } = editor.document;
  if (!SCHEMES.some((scheme) => scheme === uri.scheme)) return undefined;
  const { start, end } = selection;
  return { uri: uri.toString(), version, range: { start: plain(start), end: plain(end) } };
}

function plain({ line, character }: vscode.Position): { line: number; character: number } {
  return { line, character };
}

function isSamePlace(one: CursorRestParams, other: CursorRestParams | undefined): boolean {
  if (other === undefined || one.uri !== other.uri || one.version !== other.version) return false;
  return isSame(one.range.start, other.range.start) && isSame(one.range.end, other.range.end);
}
