// Writes the server's settings into package.json as VS Code's, from lsp_server/settings.schema.json.
// `node scripts/settings.mjs --check` only says whether they agree. Knows nothing of our own
// settings, which are the ones in OWN.
import { readFileSync, writeFileSync } from "node:fs";

const PACKAGE = new URL("../package.json", import.meta.url);
const SCHEMA = new URL("../../../lsp_server/settings.schema.json", import.meta.url);
const SECTION = "seed-lsp";

/** What a workspace sets only if it is trusted; a test compares with the server's list. */
const TRUSTED_ONLY = ["model", "adapter", "offline", "log_file"];

/** Settings of the extension itself; the server never sees them. */
const OWN = {
  "server.command": {
    scope: "machine",
    type: "array",
    items: { type: "string" },
    default: [],
    markdownDescription:
      "The command that starts the server: the path of `seed-lsp`, or of a Python that has it, and arguments; `~/` is your home folder. Empty: the extension looks for it, and offers to set it up.",
  },
  growWhileIdle: {
    enum: ["auto", "on", "off"],
    default: "auto",
    markdownDescription:
      "Whether a suggestion on screen may grow by whole lines while you type nothing. `auto`: not in remote windows and not for screen readers.",
  },
  "trace.server": {
    enum: ["off", "messages", "verbose"],
    default: "off",
    description: "Log the messages between the extension and the server. They contain your code.",
  },
};

const camelCase = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

function sentence(text) {
  const capital = /^`/.test(text) ? text : text[0].toUpperCase() + text.slice(1);
  return capital.endsWith(".") ? capital : `${capital}.`;
}

function property(name, described) {
  const { description, type, ...rules } = described;
  const result = { markdownDescription: sentence(description), ...rules };
  if (type !== undefined) {
    // Without a default a setting is unset, which the settings editor writes as null.
    result.type = "default" in described ? type : [type, "null"];
  }
  result.default ??= null;
  if (TRUSTED_ONLY.includes(name)) result.scope = "machine-overridable";
  return result;
}

const schema = JSON.parse(readFileSync(SCHEMA, "utf8"));
const before = readFileSync(PACKAGE, "utf8");
const manifest = JSON.parse(before);
const own = Object.entries(OWN).map(([name, value]) => [`${SECTION}.${name}`, value]);
const ofServer = Object.entries(schema.properties).map(([name, described]) => [
  `${SECTION}.${camelCase(name)}`,
  property(name, described),
]);
manifest.contributes.configuration = {
  title: "seed-lsp",
  properties: Object.fromEntries([...own, ...ofServer]),
};
manifest.capabilities.untrustedWorkspaces.restrictedConfigurations = [
  `${SECTION}.server.command`,
  ...TRUSTED_ONLY.map((name) => `${SECTION}.${camelCase(name)}`),
];
const after = JSON.stringify(manifest, null, 2) + "\n";
if (process.argv.includes("--check")) {
  if (after !== before) {
    console.error("package.json is out of date: run node scripts/settings.mjs");
    process.exit(1);
  }
} else {
  writeFileSync(PACKAGE, after);
}
