"use strict";

const heading = document.querySelector("h1");
const code = document.getElementById("code");
const picture = document.querySelector("img");
const state = document.querySelector("[role=status]");
const events = new EventSource(`${location.pathname}/events`);

// Only what changed is said: a reader must not hear of every new code.
function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

function end(title, text) {
  events.close();
  code.hidden = true;
  heading.textContent = title;
  document.title = `${title} – Hantar`;
  say(text);
}

events.addEventListener("code", ({ data }) => {
  picture.src = data;
  picture.hidden = false;
  code.hidden = false;
  say("Waiting for the phone.");
});
events.addEventListener("scanned", () => {
  code.hidden = true;
  say("The phone has scanned the code. It takes a moment.");
});
events.addEventListener("away", () => {
  picture.hidden = true;
  say("No code can be had right now. This page goes on trying.");
});
events.addEventListener("linked", ({ data }) => {
  end(data ? `Linked as ${data}` : "The device is linked", "You can close this page.");
});
events.addEventListener("gone", () => end("There is no such device", "You can close this page."));
events.addEventListener("error", () => {
  // Only an answer that is none ends it for good; anything else is tried again.
  if (events.readyState === EventSource.CLOSED) end("This link is over", "Ask for a new one.");
});
