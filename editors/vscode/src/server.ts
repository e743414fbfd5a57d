/**
 * The server's life: found, started, started again when it dies, stopped.
 *
 * Knows neither what it is asked nor what a status looks like.
 */
import * as vscode from "vscode";
import { RevealOutputChannelOn } from "vscode-languageclient/node";
import { SeedClient } from "./client";
import { placesOf } from "./discovery";
import { choose } from "./environment";

export class Server implements vscode.Disposable {
  readonly log = vscode.window.createOutputChannel("seed-lsp", { log: true });
  private client: SeedClient | undefined;

  constructor(private readonly context: vscode.ExtensionContext) {}

  async start(): Promise<void> {
    const launch = await choose(placesOf(async () => undefined));
    if (launch === undefined) return;
    const folder = this.context.globalStorageUri;
    await vscode.workspace.fs.createDirectory(folder);
    this.client = new SeedClient(launch, folder.fsPath, {
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
    });
    await this.client.start();
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    await client?.dispose();
  }

  dispose(): void {
    this.log.dispose();
  }
}
