import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = new URL("..", import.meta.url).pathname;
const json = (name) => JSON.parse(fs.readFileSync(join(ROOT, name)));

function modulesOf(folder) {
  const names = new Set();
  for (const name of fs.readdirSync(folder, { recursive: true })) {
    if (!name.endsWith(".js")) continue;
    const text = fs.readFileSync(join(folder, name), "utf8");
    for (const [, found] of text.matchAll(/require\(\s*'(WA\w+)'/g)) names.add(found);
  }
  return names;
}

test("the library is of exactly one version, which is the one installed", () => {
  const pinned = json("package.json").dependencies["whatsapp-web.js"];
  assert.match(pinned, /^\d+\.\d+\.\d+$/);
  assert.equal(json("package-lock.json").packages["node_modules/whatsapp-web.js"].version, pinned);
  assert.equal(json("node_modules/whatsapp-web.js/package.json").version, pinned);
});

test("the library names the modules it named when the contract was written", () => {
  const library = modulesOf(join(ROOT, "node_modules/whatsapp-web.js/src"));
  const known = json("test/library_modules.json");
  // A new name may be one that a send meets: read what it is for, then write both files anew.
  assert.deepEqual([...library].sort(), known);
  const own = Object.keys(json("contract.json")).filter((name) => !library.has(name));
  assert.deepEqual(own, []);
});
