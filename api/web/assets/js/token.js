// A mail leads to a page with a token behind `#`, which the browser sends to nobody: into the form with it, and out of the address.

const field = document.querySelector("input[name=token]");
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (field && token) {
  field.value = token;
  history.replaceState(null, "", location.pathname + location.search);
  (field.form.querySelector("input[type=password]") ?? field.form.querySelector("button")).focus();
}
