// Everything, or the parts that are named: `node all.mjs look keyboard`.

import { facts, launch } from "./browser.mjs";
import { finish } from "./checks.mjs";
import { create } from "./create.mjs";
import { keyboard } from "./keyboard.mjs";
import { accessible, links, look, withoutScript } from "./look.mjs";
import { map } from "./map.mjs";
import { pages } from "./pages.mjs";

const PARTS = { look, accessible, withoutScript, links, keyboard, map, create };

const words = process.argv.slice(2);
const only = words.filter((word) => word.startsWith("--page=")).map((word) => word.slice("--page=".length));
const named = words.filter((word) => !word.startsWith("--"));
const unknown = named.filter((name) => !(name in PARTS));
if (unknown.length) throw new Error(`there is no part ${unknown}: ${Object.keys(PARTS)}`);

const browser = await launch();
const all = pages(facts).filter(({ name }) => !only.length || only.includes(name));
for (const [name, part] of Object.entries(PARTS)) {
  if (named.length && !named.includes(name)) continue;
  const began = Date.now();
  await part(browser, all);
  console.error(`${name}: ${((Date.now() - began) / 1000).toFixed(0)} s`);
}
await browser.close();
finish();
