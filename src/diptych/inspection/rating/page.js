"use strict";
// A rater goes through steps, each one question about one text. An answer is [text, question, image, place, milliseconds]:
// the image by its number within the text, and the place on the screen where it was shown (both from 0).
(() => {
  const $ = (id) => document.getElementById(id);
  const study = JSON.parse($("study").textContent);
  const texts = $("texts").children;
  const questions = study.questions;
  let rater = 0; // from 1 once started
  let steps = []; // {text, question, order} of this rater
  let answers = new Map(); // "text question" -> answer
  let at = 0; // number of the step that is shown; steps.length is the end
  let since = 0; // when it was shown
  let kept = true; // whether the browser keeps the answers
  let saved = true; // whether a file has all of them

  const count = (number) => number.toLocaleString("en");
  const keyOf = (step) => `${step.text} ${step.question}`;
  const storeName = (number) => `diptych-rating ${study.id} ${number}`;

  function tell(message) {
    $("trouble").textContent = message;
    $("trouble").hidden = !message;
  }

  function show(name) {
    for (const id of ["start", "rate", "done"]) $(id).hidden = id !== name;
  }

  // Check number of the file: it shows that the file is as the page wrote it.
  function crc32(text) {
    let crc = -1;
    for (const byte of new TextEncoder().encode(text)) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return (~crc >>> 0).toString(16).padStart(8, "0");
  }

  const checkOf = (number, list) => crc32(JSON.stringify([study.id, number, list]));
  const listed = () => [...answers.values()].sort((one, other) => one[0] - other[0] || one[1] - other[1]);

  function stored(number) {
    try {
      return JSON.parse(localStorage.getItem(storeName(number))) || [];
    } catch {
      return [];
    }
  }

  function keep(number, list) {
    try {
      localStorage.setItem(storeName(number), JSON.stringify(list));
      kept = true;
    } catch {
      kept = false;
      tell("This browser does not keep your answers: save them to a file before you close the page.");
    }
  }

  function begin(number) {
    rater = number;
    tell("");
    answers = new Map(stored(rater).map((one) => [`${one[0]} ${one[1]}`, one]));
    keep(rater, listed());
    steps = study.orders[rater - 1].flatMap(([text, order]) =>
      questions.map((_, question) => ({ text, question, order })),
    );
    at = firstOpen();
    draw();
  }

  function firstOpen() {
    const open = steps.findIndex((step) => !answers.has(keyOf(step)));
    return open < 0 ? steps.length : open;
  }

  function draw() {
    const open = steps.length - answers.size;
    if (at >= steps.length) {
      $("left").textContent = open
        ? `${count(open)} of ${count(steps.length)} questions have no answer yet.`
        : `Thank you: all ${count(steps.length)} questions are answered.`;
      $("first").hidden = !open;
      show("done");
      return;
    }
    const step = steps[at];
    const item = JSON.parse(texts[step.text].textContent);
    const answer = answers.get(keyOf(step));
    $("bar").max = steps.length;
    $("bar").value = answers.size;
    $("count").textContent = `Rater ${rater}: question ${count(at + 1)} of ${count(steps.length)}, ${count(answers.size)} answered`;
    $("caption").textContent = item.text;
    $("caption").lang = item.lang;
    $("question").textContent = questions[step.question];
    [...$("images").children].forEach((button, place) => {
      const image = step.order[place];
      button.firstChild.src = item.images[image];
      button.setAttribute("aria-pressed", String(Boolean(answer) && answer[2] === image));
    });
    $("back").disabled = at === 0;
    $("next").textContent = answer ? "Next →" : "Skip →";
    show("rate");
    since = performance.now();
  }

  function choose(place) {
    const step = steps[at];
    const took = Math.round(performance.now() - since);
    answers.set(keyOf(step), [step.text, step.question, step.order[place], place, took]);
    saved = false;
    keep(rater, listed());
    move(1);
  }

  function move(by) {
    at = Math.min(Math.max(at + by, 0), steps.length);
    draw();
  }

  function save() {
    const list = listed();
    const content = { format: 1, kind: "ratings", study: study.id, rater, answers: list, check: checkOf(rater, list) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content)], { type: "application/json" }));
    link.download = `answers-${study.id.slice(0, 8)}-rater-${rater}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    saved = true;
  }

  async function load(file) {
    let content;
    try {
      content = JSON.parse(await file.text());
    } catch {
      content = null;
    }
    if (!content || content.kind !== "ratings" || !Array.isArray(content.answers)) {
      tell("This file holds no answers; choose one that this page saved.");
    } else if (content.study !== study.id) {
      tell("This file has the answers of another page.");
    } else if (!study.orders[content.rater - 1] || content.check !== checkOf(content.rater, content.answers)) {
      tell("This file was changed after the page saved it; choose an unchanged one.");
    } else {
      const found = new Map([...stored(content.rater), ...content.answers].map((one) => [`${one[0]} ${one[1]}`, one]));
      keep(content.rater, [...found.values()]);
      begin(content.rater);
    }
  }

  function describe() {
    const number = Number($("rater").value);
    const done = stored(number).length;
    const all = study.orders[0].length * questions.length;
    $("kept").textContent = done ? `Rater ${number} has answered ${count(done)} of ${count(all)} questions in this browser.` : "";
    $("begin").textContent = done ? "Continue" : "Start";
  }

  study.orders.forEach((_, number) => $("rater").append(new Option(String(number + 1))));
  const images = study.orders[0][0][1].length;
  for (let place = 0; place < images; place++) {
    const button = document.createElement("button");
    const image = new Image();
    image.alt = `Image ${place + 1}`;
    const label = document.createElement("span");
    label.textContent = String(place + 1);
    label.ariaHidden = "true";
    button.append(image, label);
    button.addEventListener("click", () => choose(place));
    $("images").append(button);
  }
  $("images").style.maxWidth = `${25 * images}rem`;
  $("keys").textContent = `1 to ${images}`;
  $("rater").addEventListener("change", describe);
  $("begin").addEventListener("click", () => begin(Number($("rater").value)));
  $("load").addEventListener("change", (event) => event.target.files[0] && load(event.target.files[0]));
  $("back").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("again").addEventListener("click", () => move(-1));
  $("first").addEventListener("click", () => { at = firstOpen(); draw(); });
  $("save").addEventListener("click", save);
  $("final").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    if ($("start").hidden === false || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") move(-1);
    else if (event.key === "ArrowRight") move(1);
    else if (!$("rate").hidden && /^[1-9]$/.test(event.key) && Number(event.key) <= images) choose(Number(event.key) - 1);
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", (event) => { if (!kept && !saved) event.preventDefault(); });

  const asked = Number(new URLSearchParams(location.hash.slice(1)).get("rater"));
  if (asked >= 1 && asked <= study.orders.length) begin(asked);
  else describe();
})();
