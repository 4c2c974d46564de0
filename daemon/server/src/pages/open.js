// Exchanges the one-time code of `easel open` for a cookie, which no script can read, and a key for the pages of this address.
const code = location.hash.slice(1);
// The code leaves the address bar and the history, whatever happens.
history.replaceState(null, "", "/open");
const state = document.getElementById("state");
try {
  if (!code) throw new Error("this page needs a code: run `easel open`");
  const answer = await fetch("/open", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  localStorage.setItem("easel-key", (await answer.json()).key);
  location.replace("/");
} catch (error) {
  state.textContent = error.message;
}
