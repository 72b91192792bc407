// Copy buttons appear only where they work; without this file, records are selected by hand.
document.querySelectorAll("button[data-copy]").forEach((button) => {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const said = document.getElementById("said");
    const label = button.firstElementChild;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      said.textContent = "Copied.";
      label.textContent = "Copied";
    } catch (problem) {
      said.textContent = "The browser does not let the page copy; select the record by hand.";
    }
    setTimeout(() => { label.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
});
