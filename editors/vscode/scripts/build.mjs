// Bundles the extension into dist/extension.js, with what goes into the package beside it, or with
// --tests the unit tests into dist/test/.
import { copyFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const FOLDER = new URL("../", import.meta.url);
const PICTURE = /^!\[[^\]]*\]\(\.\.\/\.\.\/docs\/([^)]+)\)\n\n/gm;

/** The tests' or the extension's code in one file each. */
async function bundle(isForTests) {
  const tests = readdirSync(new URL("test", FOLDER)).filter((name) => name.endsWith(".test.ts"));
  await build({
    absWorkingDir: fileURLToPath(FOLDER),
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
}

/** The repository's license, and the README with its pictures, which lie in its docs. */
function copyTexts() {
  copyFileSync(new URL("../../LICENSE", FOLDER), new URL("LICENSE", FOLDER));
  const pictures = new URL("dist/docs/", FOLDER);
  mkdirSync(pictures, { recursive: true });
  const readme = readFileSync(new URL("README.md", FOLDER), "utf8");
  const packed = readme.replace(PICTURE, (line, name) => {
    const picture = new URL(`../../docs/${name}`, FOLDER);
    if (!existsSync(picture)) return "";
    copyFileSync(picture, new URL(name, pictures));
    return line.replace("../../docs/", "dist/docs/");
  });
  writeFileSync(new URL("dist/README.md", FOLDER), packed);
}

const isForTests = process.argv.includes("--tests");
await bundle(isForTests);
if (!isForTests) copyTexts();
