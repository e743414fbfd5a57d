// Bundles the extension into dist/extension.js, or with --tests the unit tests into dist/test/.
import { copyFileSync, readdirSync } from "node:fs";
import { build } from "esbuild";

const isForTests = process.argv.includes("--tests");
const folder = new URL("../", import.meta.url);
const tests = readdirSync(new URL("test", folder)).filter((name) => name.endsWith(".test.ts"));

await build({
  absWorkingDir: decodeURIComponent(folder.pathname),
  entryPoints: isForTests ? tests.map((name) => `test/${name}`) : ["src/extension.ts"],
  outdir: isForTests ? "dist/test" : "dist",
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode"],
  minify: !isForTests,
  sourcemap: isForTests ? "inline" : false,
  legalComments: "none",
  logLevel: "warning",
});

if (!isForTests) copyFileSync(new URL("../../LICENSE", folder), new URL("LICENSE", folder));
