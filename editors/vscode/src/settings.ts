/**
 * What the server is told of VS Code's settings: only what somebody has set, so that a project's
 * seed-lsp.toml and the user's config.toml count for the rest.
 *
 * Knows neither names nor values of settings; package.json has them.
 */

export const SECTION = "seed-lsp";

/** Of this extension alone. */
const OWN = /^(server\.|trace\.|growWhileIdle$)/;

/** One setting as VS Code knows it. */
export interface Inspected {
  readonly globalValue?: unknown;
  readonly workspaceValue?: unknown;
  readonly workspaceFolderValue?: unknown;
}

/** What of a `package.json` is read here. */
export interface Manifest {
  readonly contributes: { readonly configuration: { readonly properties: object } };
}

/** The names of the server's settings, without the section. */
export function serverSettings(manifest: Manifest): string[] {
  return Object.keys(manifest.contributes.configuration.properties)
    .map((name) => name.slice(SECTION.length + 1))
    .filter((name) => !OWN.test(name));
}

/** The settings that somebody has set; null is how the settings editor says "not set". */
export function setValues(
  names: readonly string[],
  inspect: (name: string) => Inspected | undefined,
): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of names) {
    const known = inspect(name);
    const value = known?.workspaceFolderValue ?? known?.workspaceValue ?? known?.globalValue;
    if (value !== undefined && value !== null) found[name] = value;
  }
  return found;
}
