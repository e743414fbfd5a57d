/**
 * The server's life: found, started, started again when it dies, stopped.
 *
 * Knows neither what it is asked nor what a status looks like.
 */
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  RevealOutputChannelOn,
  State,
  type CloseHandlerResult,
  type LanguageClientOptions,
} from "vscode-languageclient/node";
import { SeedClient } from "./client";
import { placesOf } from "./discovery";
import { choose, type Launch } from "./environment";
import type { InlineCompletions } from "./inlineCompletions";
import type { ManagedEnvironment } from "./managedEnvironment";
import { ProgressDisplays } from "./progress";
import {
  CURSOR_REST,
  PROTOCOL_VERSION,
  STATUS,
  UPDATE,
  type CursorRestParams,
  type Status,
  type Update,
} from "./protocol";
import { Restarts } from "./restarts";
import { SECTION, serverSettings, setValues, type Manifest } from "./settings";
import type { Condition } from "./statusText";

const STARTING: Condition = { state: "starting", message: "The server is starting." };
const NEVER = new vscode.CancellationTokenSource().token;
const MISSING: Condition = {
  state: "missing",
  message: "There is no seed-lsp on this machine yet. Click to set it up.",
};

export class Server implements vscode.Disposable {
  /** What is started; undefined if nothing was found. */
  launch: Launch | undefined;
  /** Edits that the server has had VS Code show or apply. */
  numEditsShown = 0;
  /** Edits that the person has cancelled. */
  numEditsCancelled = 0;

  private readonly conditions = new vscode.EventEmitter<Condition>();
  readonly onCondition = this.conditions.event;
  private client: SeedClient | undefined;
  private turn: Promise<void> = Promise.resolve();
  private last: Condition = STARTING;

  constructor(
    private readonly context: vscode.ExtensionContext,
    readonly log: vscode.LogOutputChannel,
    private readonly completions: InlineCompletions,
    private readonly managed: ManagedEnvironment,
  ) {}

  /** What holds now. */
  get condition(): Condition {
    return this.last;
  }

  /** The client, if its server is up. */
  get running(): SeedClient | undefined {
    return this.client?.isRunning() ? this.client : undefined;
  }

  /** The folder that the server runs in: no project's. */
  get folder(): string {
    return this.context.globalStorageUri.fsPath;
  }

  /** Start, or start anew; one after the other if called twice. */
  start(): Promise<void> {
    this.turn = this.turn.then(async () => {
      await this.stopNow();
      await this.startNow();
    });
    return this.turn;
  }

  /** The cursor has come to stand somewhere. Returns whether there is a server to be told. */
  tellRest(params: CursorRestParams): boolean {
    void this.running?.sendNotification(CURSOR_REST, params);
    return this.running !== undefined;
  }

  stop(): Promise<void> {
    this.turn = this.turn.then(() => this.stopNow());
    return this.turn;
  }

  dispose(): void {
    this.conditions.dispose();
  }

  private async startNow(): Promise<void> {
    if (process.platform === "win32") {
      return this.fail("seed-lsp runs on Linux and macOS; on Windows, open the folder in WSL.");
    }
    this.tell(STARTING);
    this.launch = await choose(placesOf(() => this.managed.python()));
    if (this.launch === undefined) return this.tell(MISSING);
    const { program, args, origin } = this.launch;
    this.log.info(`Starting ${[program, ...args].join(" ")} (${origin}).`);
    await vscode.workspace.fs.createDirectory(this.context.globalStorageUri);
    const displays = new ProgressDisplays((token) => {
      this.numEditsCancelled += 1;
      void this.running?.sendNotification("window/workDoneProgress/cancel", { token });
    });
    const client = new SeedClient(this.launch, this.folder, this.options(displays));
    client.onNotification(STATUS, (status: Status) => this.receive(status));
    client.onNotification(UPDATE, (update: Update) => this.completions.receive(update));
    this.client = client;
    try {
      await client.start();
    } catch {
      return this.fail(`${program} does not start: the log says why.`);
    }
    const experimental: unknown = client.initializeResult?.capabilities.experimental;
    const version = (experimental as { seed?: { version?: number } } | undefined)?.seed?.version;
    if (version !== PROTOCOL_VERSION) {
      await this.stopNow();
      this.fail(`${program} and this extension do not understand each other: update the older one.`);
    }
  }

  private async stopNow(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    this.completions.clear();
    try {
      await client?.dispose();
    } catch (error) {
      this.log.info(`The server was gone already: ${String(error)}`);
    }
  }

  private options(displays: ProgressDisplays): LanguageClientOptions {
    const restarts = new Restarts();
    return {
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          displays.close();
          this.completions.clear();
          return this.closed(restarts);
        },
      },
      middleware: {
        provideInlineCompletionItems: (...args) => this.completions.provide(...args),
        handleWorkDoneProgress: (...args) => displays.handle(...args),
        resolveCodeAction: async (action, token, next) => {
          const cancelledBefore = this.numEditsCancelled;
          const resolved = await next(action, token);
          const reason = resolved?.disabled?.reason;
          const isKnown = this.numEditsCancelled > cancelledBefore;
          if (reason && !isKnown) void vscode.window.showInformationMessage(reason);
          return resolved;
        },
        workspace: {
          configuration: () => [this.settings()],
          handleApplyEdit: (params, next) => {
            this.numEditsShown += 1;
            return next(params, NEVER);
          },
        },
      },
    };
  }

  private closed(restarts: Restarts): CloseHandlerResult {
    const wasUp = this.client?.state === State.Running;
    if (wasUp && restarts.mayRestart(Date.now())) {
      this.tell({ state: "restarting", message: "The server has stopped and is started again." });
      return { action: CloseAction.Restart, handled: true };
    }
    this.fail(`The server ${wasUp ? "stops again and again" : "does not start"}: the log says why.`);
    return { action: CloseAction.DoNotRestart, handled: true };
  }

  private settings(): Record<string, unknown> {
    const configuration = vscode.workspace.getConfiguration(SECTION);
    const names = serverSettings(this.context.extension.packageJSON as Manifest);
    return setValues(names, (name) => configuration.inspect(name));
  }

  private receive(status: Status): void {
    // Switched off, what was on screen may not come back from the cache.
    if (status.state === "disabled") this.completions.clear();
    this.tell(status);
  }

  private fail(message: string): void {
    this.log.warn(message);
    this.tell({ state: "failed", message });
  }

  private tell(condition: Condition): void {
    this.last = condition;
    this.conditions.fire(condition);
  }
}
