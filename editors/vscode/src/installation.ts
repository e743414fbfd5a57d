/** How an environment with the server is made: which commands, in which order. Pure. */
import * as path from "node:path";

/** Where the server's sources are in the extension. */
export const ARCHIVE_FOLDER = "dist/server";

/** Interpreters to look for, the best first. */
export const PYTHONS = ["python3.13", "python3.12", "python3.11", "python3.14", "python3"] as const;

const PIP_OPTIONS = ["--disable-pip-version-check", "--progress-bar", "off"];

export interface Step {
  readonly program: string;
  readonly args: readonly string[];
  /** While it runs. */
  readonly message: string;
  /** If it fails; one sentence. */
  readonly failure: string;
}

/** The steps from nothing to weights. */
export function stepsOf(python: string, folder: string, archive: string): Step[] {
  const own = path.join(folder, "bin", "python");
  return [
    {
      program: python,
      args: ["-I", "-m", "venv", "--clear", folder],
      message: "creating an environment …",
      failure: "The environment could not be created.",
    },
    {
      program: own,
      args: ["-I", "-m", "pip", "install", ...PIP_OPTIONS, archive],
      message: "installing the server; PyTorch alone can take minutes …",
      failure: "The server could not be installed.",
    },
    {
      program: own,
      args: ["-I", "-m", "lsp_server", "fetch"],
      message: "fetching the model's weights, about 500 MB …",
      failure: "The weights could not be fetched.",
    },
  ];
}
