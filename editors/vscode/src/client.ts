/**
 * The language client, made quiet: nothing that goes wrong opens a pop-up, and the server's
 * commands do not become commands of VS Code by themselves.
 *
 * Knows neither when it is started nor what its messages are for.
 */
import {
  LanguageClient,
  type DynamicFeature,
  type InitializeParams,
  type LanguageClientOptions,
  type StaticFeature,
} from "vscode-languageclient/node";
import { variablesFor, type Launch } from "./environment";
import { CLIENT_CAPABILITY } from "./protocol";

const EXECUTE_COMMAND = "workspace/executeCommand";

/** What is completed: files on a disk, untitled ones and cells of notebooks. */
export const SCHEMES = ["file", "untitled", "vscode-notebook-cell"] as const;

export class SeedClient extends LanguageClient {
  /**
   * @param launch what to start.
   * @param cwd a folder of our own: never the workspace, whose modules must not become ours.
   */
  constructor(launch: Launch, cwd: string, options: LanguageClientOptions) {
    // The library adds none of the editor's own variables: there would be no PATH and no HOME.
    const environment = { cwd, env: { ...process.env, ...variablesFor(launch.origin) } };
    super(
      "seed-lsp",
      "seed-lsp",
      { command: launch.program, args: [...launch.args, "--stdio"], options: environment },
      { ...options, documentSelector: SCHEMES.map((scheme) => ({ scheme })) },
    );
  }

  /** All features but the one that registers the server's commands under their own names. */
  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const isDynamic = "registrationType" in feature;
    if (isDynamic && feature.registrationType.method === EXECUTE_COMMAND) return;
    super.registerFeature(feature);
  }

  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override warn(message: string, data?: unknown): void {
    super.warn(message, data, false);
  }

  override info(message: string, data?: unknown): void {
    super.info(message, data, false);
  }

  /** Has the server run one of its commands. */
  execute<Result>(command: string, args: readonly unknown[]): Promise<Result> {
    return this.sendRequest<Result>(EXECUTE_COMMAND, { command, arguments: args });
  }

  protected override fillInitializeParams(params: InitializeParams): void {
    super.fillInitializeParams(params);
    params.capabilities.experimental = { seed: CLIENT_CAPABILITY };
  }
}
