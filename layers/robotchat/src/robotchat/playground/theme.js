/** Light or dark: as the system has it, or as was chosen here. */

const STORED = "robotchat.theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

export const theme = () => localStorage.getItem(STORED) ?? (systemDark.matches ? "dark" : "light");

export const otherTheme = () => (theme() === "dark" ? "light" : "dark");

const dress = () => document.documentElement.setAttribute("data-theme", theme());

export function wear(chosen) {
  localStorage.setItem(STORED, chosen);
  dress();
}

/** Follows the system from now on; `changed` is called when it changes. */
export function followSystem(changed) {
  dress();
  systemDark.addEventListener("change", () => (dress(), changed()));
}
