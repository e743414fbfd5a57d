/**
 * When a suggestion on screen gives way to one with more text, while nothing is typed.
 *
 * Lines below move each time, so it happens seldom, and at the end of lines. Pure: knows neither
 * clocks nor VS Code.
 */
import type { Cached } from "./sessionCache";

/** Beside the last one, when all of the text is there. */
const MOST_HOPS = 3;
/** Least time between two changes of what is on screen. */
export const PAUSE_MS = 250;

/** The text to show next in place of `shown`; undefined if that is to stay. */
export function grown(shown: string, cached: Cached, numHops: number): string | undefined {
  if (!cached.isDone && numHops >= MOST_HOPS) return undefined;
  const text = cached.isDone ? cached.text : completeLines(cached.text);
  const isMore = text.startsWith(shown) && text.trimEnd().length > shown.trimEnd().length;
  return isMore ? text : undefined;
}

/** The setting `growWhileIdle`, and what `auto` means here. */
export function isWanted(
  setting: string,
  remoteName: string | undefined,
  accessibilitySupport: string,
): boolean {
  if (setting !== "auto") return setting === "on";
  // Through a remote window each hop is a round trip; a screen reader would read the text again.
  return remoteName === undefined && accessibilitySupport !== "on";
}

/** A text without the line that is still being written. */
function completeLines(text: string): string {
  return text.slice(0, Math.max(text.lastIndexOf("\n"), 0)).replace(/\r$/, "");
}
