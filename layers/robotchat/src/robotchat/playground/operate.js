/** Operate: for keys with the scope admin. */

import { h } from "./dom.js";
import { t } from "./i18n.js";

export async function operate(main) {
  main.append(h("h1", {}, t("operate")));
}
