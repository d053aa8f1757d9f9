// Sets the colours before anything is painted: the visitor's choice, else what the system prefers.
"use strict";
(() => {
  const NAMES = ["auto", "light", "dark"];
  const KEY = "mesh-theme";
  const stored = () => {
    try { return localStorage.getItem(KEY) || "auto"; } catch { return "auto"; }
  };
  const apply = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
  };
  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => { button.textContent = `Theme: ${stored()}`; };
    button.addEventListener("click", () => {
      const next = NAMES[(NAMES.indexOf(stored()) + 1) % NAMES.length];
      try { localStorage.setItem(KEY, next); } catch { /* private windows: the choice lasts for this page only */ }
      apply(next);
      show();
    });
    show();
  });
})();
