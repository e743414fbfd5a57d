/**
 * What the status bar says. Pure: takes the server's status and what this extension knows beside
 * it, gives texts. Knows neither VS Code nor where a status comes from.
 */
import type { Status } from "./protocol";

/** What the server cannot tell, because there is none. */
export type Condition =
  | Status
  | { readonly state: "missing"; readonly message: string; readonly reason?: null };

export interface StatusText {
  readonly text: string;
  readonly tooltip: string;
  /** What a screen reader says. */
  readonly label: string;
  readonly isError: boolean;
}

const NAME = "Seed";
const WHY: Readonly<Record<string, string>> = {
  off: "off",
  snoozed: "snoozed",
  manual: "on request",
  language: "off here",
  file: "off here",
  excluded: "not here",
};

/** The texts for a condition. */
export function statusText(condition: Condition): StatusText {
  const [icon, word] = look(condition);
  const text = word === "" ? `$(${icon}) ${NAME}` : `$(${icon}) ${NAME}: ${word}`;
  return {
    text,
    tooltip: condition.message,
    label: word === "" ? NAME : `${NAME}, ${word}`,
    isError: condition.state === "failed",
  };
}

/** An icon of VS Code's, and a word or two. */
function look(condition: Condition): [string, string] {
  switch (condition.state) {
    case "missing":
      return ["cloud-download", "set up"];
    case "starting":
      return ["loading~spin", "starting"];
    case "loading":
      return ["loading~spin", percentage(condition.progress)];
    case "restarting":
      return ["loading~spin", "restarting"];
    case "ready":
      return ["sparkle", ""];
    case "busy":
      return ["sync~spin", ""];
    case "disabled":
      return ["circle-slash", WHY[condition.reason ?? ""] ?? "off"];
    case "failed":
      return ["error", "failed"];
  }
}

function percentage(progress: number | null | undefined): string {
  return typeof progress === "number" ? `loading ${Math.floor(100 * progress)} %` : "loading";
}
