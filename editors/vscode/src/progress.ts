/**
 * Progress displays that the server opens. An edit's is a notification that can be cancelled; that
 * of loading is left out, because the status bar says the same.
 *
 * Knows neither edits nor the engine.
 */
import * as vscode from "vscode";
import type { HandleWorkDoneProgressSignature, ProgressToken } from "vscode-languageclient/node";

type Value = Parameters<HandleWorkDoneProgressSignature>[1];

interface Display {
  report(message: string): void;
  end(): void;
}

export class ProgressDisplays {
  private readonly open = new Map<ProgressToken, Display>();

  /** @param cancel tells the server that the person has cancelled. */
  constructor(private readonly cancel: (token: ProgressToken) => void) {}

  /** Middleware: what the server says about one of its displays. */
  handle(token: ProgressToken, value: Value, next: HandleWorkDoneProgressSignature): void {
    if (value.kind === "begin") {
      if (value.cancellable) this.begin(token, value.title, value.message);
    } else if (value.kind === "report") {
      if (value.message) this.open.get(token)?.report(value.message);
    } else {
      this.open.get(token)?.end();
      this.open.delete(token);
      next(token, value); // the client forgets the token
    }
  }

  /** Close all: the server is gone. */
  close(): void {
    for (const display of this.open.values()) display.end();
    this.open.clear();
  }

  private begin(token: ProgressToken, title: string, message: string | undefined): void {
    const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title };
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    let report = (_: string): void => undefined;
    void vscode.window.withProgress(options, (progress, cancellation) => {
      report = (text) => progress.report({ message: text });
      if (message) report(message);
      cancellation.onCancellationRequested(() => this.cancel(token));
      return ended;
    });
    this.open.set(token, { report: (text) => report(text), end });
  }
}
