/**
 * The predictions on screen, kept up to date by the server's updates and by what is typed.
 *
 * VS Code cannot be given more text for a suggestion that it shows, but it asks again at each key,
 * after each accepted word and after Tab. Then the longer text is here already, and no message has
 * to cross a process first. Knows neither VS Code nor when anything is shown.
 */
import { behind, isSame, type Change, type Place } from "./place";
import type { Position, Update } from "./protocol";

const MOST_VERSIONS = 64;

/** A text for a place. */
export interface Cached {
  readonly session: string;
  /** All that is predicted behind the cursor. */
  readonly text: string;
  /** Nothing more will come. */
  readonly isDone: boolean;
}

interface Live {
  readonly session: string;
  /** From where it was first offered. */
  text: string;
  isDone: boolean;
  version: number;
  /** Behind what was typed of the text. */
  cursor: Position;
  /** The rest of the cursor's line; a text of several lines replaces it by itself. */
  readonly lineRest: string;
  /** How much of the text was in the document at its latest versions. */
  readonly numTyped: Map<number, number>;
}

/** At most one prediction for each document. */
export class SessionCache {
  private readonly live = new Map<string, Live>();

  /** The server has answered a request: the text behind the cursor, the line's rest not counted. */
  offer(place: Place, session: string, text: string, lineRest: string): void {
    const known = this.live.get(place.uri);
    const isKnown =
      known?.session === session &&
      known.version === place.version &&
      isSame(known.cursor, place.position) &&
      remaining(known).startsWith(text);
    if (isKnown) return; // an update has overtaken the answer
    this.live.set(place.uri, liveAt(place, session, text, lineRest, false));
  }

  /**
   * A prediction has grown or ended.
   *
   * @param version the document's version now.
   * @param lineRest what is behind the update's position in its line.
   * @returns whether there is something for the document's version now.
   */
  update(update: Update, version: number, lineRest: string): boolean {
    const known = this.live.get(update.uri);
    const typed = known?.numTyped.get(update.version);
    if (known !== undefined && known.session === update.session && typed !== undefined) {
      const text = known.text.slice(0, typed) + update.text;
      if (!text.startsWith(known.text)) return false; // told before, and late
      known.text = text;
      known.isDone = update.done;
      return true;
    }
    if (update.version !== version) return false;
    const { uri, item } = update;
    const place = { uri, version, position: item.range.start };
    this.live.set(uri, liveAt(place, update.session, update.text, lineRest, update.done));
    return true;
  }

  /** A document has changed; a prediction survives only if its own text was put in. */
  change(uri: string, version: number, changes: readonly Change[]): void {
    const live = this.live.get(uri);
    if (live === undefined || (changes.length === 0 && version === live.version)) return;
    const inserted = changes.length === 1 && changes[0] ? ownText(live, changes[0]) : undefined;
    if (inserted === undefined) {
      this.live.delete(uri);
      return;
    }
    const typed = (live.numTyped.get(live.version) ?? 0) + inserted.length;
    live.version = version;
    live.cursor = behind(live.cursor, inserted);
    live.numTyped.set(version, typed);
    const [oldest] = live.numTyped.keys();
    if (live.numTyped.size > MOST_VERSIONS && oldest !== undefined) live.numTyped.delete(oldest);
  }

  /** What is there for a place, if something visible is. */
  find(place: Place): Cached | undefined {
    const live = this.live.get(place.uri);
    if (live === undefined || live.version !== place.version) return undefined;
    if (!isSame(live.cursor, place.position)) return undefined;
    const text = remaining(live);
    if (text.trim() === "") return undefined;
    return { session: live.session, text, isDone: live.isDone };
  }

  /** Forget a document's prediction. */
  drop(uri: string): void {
    this.live.delete(uri);
  }

  /** Forget all. */
  clear(): void {
    this.live.clear();
  }
}

function liveAt(
  place: Place,
  session: string,
  text: string,
  lineRest: string,
  isDone: boolean,
): Live {
  const { version, position } = place;
  const numTyped = new Map([[version, 0]]);
  return { session, text, isDone, version, cursor: position, lineRest, numTyped };
}

function remaining(live: Live): string {
  return live.text.slice(live.numTyped.get(live.version) ?? 0);
}

/** What a change has put in of the prediction's text; undefined if it did anything else. */
function ownText(live: Live, change: Change): string | undefined {
  if (!isSame(change.start, live.cursor)) return undefined;
  // A suggestion of several lines takes the rest of the line along and repeats it at its end.
  const rest = live.lineRest.slice(0, change.removed);
  if (rest.length !== change.removed || !change.text.endsWith(rest)) return undefined;
  const text = change.text.slice(0, change.text.length - rest.length);
  return remaining(live).startsWith(text) ? text : undefined;
}
