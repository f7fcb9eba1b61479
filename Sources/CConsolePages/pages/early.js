// Runs when the document is parsed. After the first paint, which requests would delay, it asks for what the page
// needs: first its data, which are on their way then while its modules are loaded.

(() => {
  // Every module that a page is made of: one that is known early need not be found in another.
  const shared = ["app", "api", "dom", "format", "query"];
  const own = {
    overview: ["overview", "chart", "marks"], traces: ["traces", "marks"],
    trace: ["trace", "tracemodel", "spandetail", "waterfall"], map: ["map", "layout"],
    latency: ["latency", "marks"], explain: ["explain"],
  };
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [asked, id] = path.split("/");
  const page = Object.hasOwn(own, asked) ? asked : "overview";
  const parameters = new URLSearchParams(query ?? "");
  const from = parameters.get("from") || "-1h";
  const isPlain = [...parameters.keys()].every((key) => key === "from");
  const documents = {
    overview: ["v1/overview", { from, steps: 60 }], traces: ["v1/traces", { from, limit: 200 }],
    map: ["v1/map", { from }], trace: /^[0-9a-f]{1,32}$/i.test(id ?? "") && [`v1/traces/${id}`, {}],
  };
  const begin = () => {
    // Fields and buttons take as long to lay out as the rest of the first paint.
    document.getElementById("controls").hidden = false;
    /** Answers by address, for whoever asks for the same until the first page is open. */
    const answers = new Map();
    globalThis.early = answers;
    for (const wanted of [["v1/services", {}], isPlain && documents[page]]) {
      if (!wanted) continue;
      const url = new URL(wanted[0], document.baseURI);
      for (const [key, value] of Object.entries(wanted[1])) url.searchParams.append(key, value);
      const answer = fetch(url, { signal: AbortSignal.timeout(30_000) });
      // Who takes it hears of its failure.
      answer.catch(() => {});
      answers.set(url.href, answer);
    }
    for (const name of [...shared, ...own[page]]) {
      const link = document.createElement("link");
      [link.rel, link.href] = ["modulepreload", `ui/${name}.js`];
      document.head.append(link);
    }
    const script = document.createElement("script");
    [script.type, script.src] = ["module", "ui/app.js"];
    document.head.append(script);
  };
  addEventListener("DOMContentLoaded", () => {
    // A hidden page is not painted.
    if (document.hidden) begin();
    else requestAnimationFrame(() => setTimeout(begin));
  });
})();
