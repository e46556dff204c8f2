// Makes pages live: each [data-live="seconds"] element is replaced by its next version.
"use strict";

const SLOWEST = 30;
let failures = 0;

function seconds() {
  const wanted = [...document.querySelectorAll("[data-live]")].map((one) => Number(one.dataset.live)).filter(Boolean);
  return wanted.length ? Math.min(...wanted) : 0;
}

function isBusy(element) {
  const focused = document.activeElement;
  return element.contains(focused) && focused !== document.body;
}

function replace(fresh) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(element.id);
    if (!next || isBusy(element)) continue;
    if (element.innerHTML !== next.innerHTML) element.innerHTML = next.innerHTML;
    element.dataset.live = next.dataset.live;
  }
  document.title = fresh.title;
}

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
    } catch {
      failures += 1;
    }
    document.getElementById("connection").hidden = failures === 0;
  }
  plan();
}

function plan() {
  const pause = seconds();
  if (pause) setTimeout(refresh, 1000 * Math.min(pause * 2 ** failures, SLOWEST));
}

plan();
