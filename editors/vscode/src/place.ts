/** Positions and what typing does to them. Pure; knows neither predictions nor VS Code. */
import type { Position } from "./protocol";

/** Where a text is asked for: a version of a document and the cursor in it. */
export interface Place {
  readonly uri: string;
  readonly version: number;
  readonly position: Position;
}

/** What was replaced in a document. */
export interface Change {
  readonly start: Position;
  /** UTF-16 units that were there before. */
  readonly removed: number;
  readonly text: string;
}

/** Whether two positions are the same. */
export function isSame(one: Position, other: Position): boolean {
  return one.line === other.line && one.character === other.character;
}

/** The position behind a text that was inserted at a position. */
export function behind(position: Position, text: string): Position {
  const lines = text.split(/\r\n|\r|\n/);
  const last = lines[lines.length - 1] ?? "";
  return lines.length === 1
    ? { line: position.line, character: position.character + last.length }
    : { line: position.line + lines.length - 1, character: last.length };
}
