/** How often a server that dies is started again. Pure: is told the time. */

const MOST_RESTARTS = 4;
const WINDOW_MS = 3 * 60_000;

export class Restarts {
  private times: number[] = [];

  /** Whether it may be started once more; that counts as done. */
  mayRestart(now: number): boolean {
    this.times = this.times.filter((time) => now - time < WINDOW_MS);
    if (this.times.length >= MOST_RESTARTS) return false;
    this.times.push(now);
    return true;
  }
}
