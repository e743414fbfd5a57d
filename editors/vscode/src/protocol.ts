/**
 * The names and shapes of the server's extensions of LSP; docs/protocol.md explains them.
 *
 * Knows neither VS Code nor what is done with a message.
 */

export const UPDATE = "seed/inlineCompletion/update";
export const STATUS = "seed/status";
export const CURSOR_REST = "seed/cursorRest";
export const INSPECT = "seed/inspect";
export const EXPLAIN = "seed/explain";
export const PROTOCOL_VERSION = 1;

/** What this extension can do, as `capabilities.experimental.seed`. */
export const CLIENT_CAPABILITY = { updates: true, instructions: true } as const;

export interface Position {
  readonly line: number;
  readonly character: number;
}

export interface Range {
  readonly start: Position;
  readonly end: Position;
}

export interface Item {
  readonly insertText: string;
  readonly range: Range;
}

/** The cursor, or one selection, has stood still for a moment. */
export interface CursorRestParams {
  readonly uri: string;
  readonly version: number;
  /** What is selected; empty, at the cursor, if nothing is. */
  readonly range: Range;
}

/** A prediction that was offered has grown, or has ended. */
export interface Update {
  readonly session: string;
  readonly uri: string;
  readonly version: number;
  /** All predicted text behind the cursor; for one session and version it only grows. */
  readonly text: string;
  readonly done: boolean;
  readonly item: Item;
}

export type StatusState =
  | "starting"
  | "loading"
  | "ready"
  | "busy"
  | "disabled"
  | "restarting"
  | "failed";

export interface Status {
  readonly state: StatusState;
  readonly message: string;
  /** In [0, 1], if known. */
  readonly progress?: number | null;
  /** Why it is disabled. */
  readonly reason?: string | null;
}

/** What was used for a suggestion. */
export interface Inspection {
  readonly session: string;
  readonly uri: string;
  readonly model: string;
  readonly mode: string;
  readonly layout: string;
  readonly refusal: string | null;
  readonly masked_chars: number;
  readonly parts: readonly {
    readonly source: string;
    readonly path: string | null;
    readonly text: string;
    readonly chars: number;
    readonly tokens: number | null;
  }[];
  readonly excluded: readonly { readonly path: string; readonly reason: string }[];
  readonly cost: Readonly<Record<string, number | string | null>> | null;
}

/** Why there are completions in a document, or why not. */
export interface Explanation {
  readonly against: readonly string[];
  readonly notes: readonly string[];
  readonly latest: string | null;
}

/** The latest suggestion in a document. */
export interface LastSuggestion {
  readonly text: string;
  readonly line: number;
  readonly session: string;
}

/** What became of an edit. */
export interface Rewritten {
  readonly applied: boolean;
  readonly message: string;
}
