/**
 * Dark, light, or as the system says; remembered in this browser only.
 * A classic script in the head, not a module: it has to run before the first paint, or the page would flash.
 */
{
  const KEY = "rollcall.theme";
  const THEMES = ["system", "dark", "light"];

  /** Storage may be forbidden; the theme is not worth an error. */
  const stored = () => {
    try {
      return localStorage.getItem(KEY) ?? "system";
    } catch {
      return "system";
    }
  };

  /** @param {string} theme */
  const apply = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  };

  let theme = THEMES.includes(stored()) ? stored() : "system";
  apply(theme);
  document.addEventListener("DOMContentLoaded", () => {
    apply(theme);
    document.getElementById("theme")?.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      apply(theme);
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        /* it lasts until the page is left */
      }
    });
  });
}
