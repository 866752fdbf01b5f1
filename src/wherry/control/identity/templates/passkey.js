// Asks the browser for a passkey, and sends what it answers with the form around the button.
"use strict";

const button = document.querySelector("button[data-options]");
const told = document.getElementById("passkey-trouble");

function asked() {
  const options = JSON.parse(button.dataset.options);
  return button.dataset.make
    ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

async function answer() {
  try {
    button.form.elements.credential.value = JSON.stringify((await asked()).toJSON());
    button.form.submit();
  } catch (refused) {
    told.textContent = `The browser says: ${refused.message}`;
  }
}

if (button && window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON) {
  button.addEventListener("click", answer);
} else if (told) {
  told.textContent = "This browser knows no passkeys.";
}
