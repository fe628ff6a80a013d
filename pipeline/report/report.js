/* Sorting, filtering, the map and its legend. Texts of the data are only ever set as text. */
(function () {
  "use strict";
  var byId = document.getElementById.bind(document);
  var data = JSON.parse(byId("map-data").textContent);
  var style = getComputedStyle(document.documentElement);
  var calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  var SVG = "http://www.w3.org/2000/svg";
  var shapes = {};
  var parts = [];
  var map = null;
  var seen = [];
  var marks = {};
  var looks = looksOfMarks();

  function colour(name) {
    return style.getPropertyValue("--" + name).trim();
  }

  /* How each mark of the map looks; the legend draws its symbols from the same table. */
  function looksOfMarks() {
    var yellow = colour("m-declared"), grey = colour("m-shade");
    var dashed = { color: yellow, weight: 2, dashArray: "6 5", fillColor: yellow, fillOpacity: 0.04 };
    // buildings have short dashes and sites have none: some of their colours are alike
    var looks = {
      data_center: { color: colour("m-dc"), weight: 2, dashArray: "3 2.5", fillOpacity: 0.15 },
      cooling_equipment: { color: colour("m-eq"), weight: 2, dashArray: "3 2.5", fillOpacity: 0.15 },
      generator: { color: colour("m-gen"), weight: 2, dashArray: "3 2.5", fillOpacity: 0.15 },
      substation: { color: colour("m-sub"), weight: 2, dashArray: "3 2.5", fillOpacity: 0.1 },
      other_building: { color: colour("m-ob"), weight: 1.5, dashArray: "3 2.5", fillOpacity: 0.08 },
      declared_point: { color: "#16181c", weight: 1, fillColor: yellow, fillOpacity: 1, radius: 5 },
      declared_error: dashed,
      declared_outline: dashed,
      not_looked_at: { color: grey, weight: 1, dashArray: "2 4", fillColor: grey, fillOpacity: 0.45 },
      failed_tile: { color: colour("m-failed"), weight: 1.5, dashArray: "5 4", fillOpacity: 0.06 }
    };
    data.classes.forEach(function (name) {
      looks[name] = { color: colour("m-" + name), weight: 2.5, fillColor: colour("m-" + name), fillOpacity: 0.12 };
    });
    return looks;
  }

  /* The look of a mark; every drawing function asks here, so the legend misses none. */
  function use(mark) {
    if (!looks[mark]) { throw new Error("no look for the mark " + mark); }
    marks[mark] = true;
    return looks[mark];
  }

  /* What `draw` returns, its layer noted with the marks it used. */
  function noted(draw) {
    marks = {};
    var part = draw();
    seen.push({ layer: part.layer, marks: Object.keys(marks) });
    return part;
  }

  function shape(kind, look, attributes) {
    var el = document.createElementNS(SVG, kind);
    var fill = look.fillColor || look.color;
    var all = { stroke: look.color, "stroke-width": look.weight, fill: fill, "fill-opacity": look.fillOpacity };
    if (look.dashArray) { all["stroke-dasharray"] = look.dashArray; }
    Object.assign(all, attributes);
    Object.keys(all).forEach(function (key) { el.setAttribute(key, all[key]); });
    return el;
  }

  function symbol(mark) {
    var box = document.createElementNS(SVG, "svg");
    box.setAttribute("class", mark === "not_looked_at" ? "sym offmap" : "sym onmap");
    box.setAttribute("viewBox", "0 0 32 20");
    box.setAttribute("aria-hidden", "true");
    var round = { declared_point: looks[mark].radius, declared_error: 8 }[mark];
    if (round) {
      box.appendChild(shape("circle", looks[mark], { cx: 16, cy: 10, r: round }));
    } else if (mark !== "not_seen") {
      box.appendChild(shape("rect", looks[mark], { x: 3, y: 3, width: 26, height: 14 }));
    }
    if (data.classes.indexOf(mark) >= 0) {
      box.appendChild(shape("circle", { color: "#fff", weight: 1.5, fillOpacity: 1 },
        { cx: 16, cy: 10, r: 5, "class": "k-" + mark, fill: "var(--c)" }));
    }
    return box;
  }

  function drawLegend() {
    document.querySelectorAll(".legend [data-mark]").forEach(function (item) {
      item.insertBefore(symbol(item.dataset.mark), item.firstChild);
    });
    map.on("overlayadd overlayremove", updateLegend);
    updateLegend();
  }

  /* The legend has the marks that are on the map now. */
  function updateLegend() {
    var drawn = {};
    seen.forEach(function (part) {
      if (map.hasLayer(part.layer)) { part.marks.forEach(function (mark) { drawn[mark] = true; }); }
    });
    document.querySelectorAll(".legend [data-mark]").forEach(function (item) { item.hidden = !drawn[item.dataset.mark]; });
  }

  function lines(texts) {
    var box = document.createElement("div");
    texts.forEach(function (text, n) {
      var line = box.appendChild(document.createElement(n ? "div" : "b"));
      line.textContent = text;
    });
    return box;
  }

  function rowsOf(anchor) {
    return Array.prototype.filter.call(document.querySelectorAll("tr[data-anchor]"), function (row) {
      return row.dataset.anchor === anchor;
    });
  }

  function mark(anchor) {
    document.querySelectorAll(".chosen").forEach(function (el) { el.classList.remove("chosen"); });
    rowsOf(anchor).forEach(function (row) { row.classList.add("chosen"); });
    var card = byId(anchor);
    if (card) { card.classList.add("chosen"); }
    return card;
  }

  function openCard(anchor) {
    var card = mark(anchor);
    if (card) {
      card.focus({ preventScroll: true });
      card.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    }
  }

  function showOnMap(anchor) {
    var place = shapes[anchor];
    mark(anchor);
    if (!map || !place) { return; }
    if (!map.hasLayer(place)) {
      if (search) { search.value = ""; }
      choose("");
    }
    map.fitBounds(place.getBounds().pad(0.5), { maxZoom: 17, animate: !calm });
    byId("map").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
    map.eachLayer(function (part) { if (part instanceof L.Marker) { part.closeTooltip(); } });
    place.eachLayer(function (part) { if (part instanceof L.Marker) { part.openTooltip(); } });
  }

  function geo(feature, mark, texts, anchor) {
    var look = use(mark);
    var layer = L.geoJSON(feature, {
      style: look,
      interactive: Boolean(texts),
      pointToLayer: function (_, at) { return L.circleMarker(at, look); }
    });
    // to each single shape: Leaflet 1.9.3 fails at a tooltip of a collection inside a layer
    if (texts) {
      single(layer, function (part) { part.bindTooltip(lines(texts), { sticky: true, className: "tip" }); });
    }
    if (anchor) { layer.on("click", function () { openCard(anchor); }); }
    return layer;
  }

  function single(layer, each) {
    if (layer.eachLayer) { layer.eachLayer(function (part) { single(part, each); }); } else { each(layer); }
  }

  function pin(at, rank, klass, texts, anchor) {
    use(klass);
    var badge = document.createElement("span");
    badge.textContent = rank === null ? "·" : String(rank);
    badge.className = "pin k-" + klass;
    var marker = L.marker(at, {
      icon: L.divIcon({ html: badge, className: "pinbox", iconSize: [26, 26] }),
      alt: texts.slice(0, 2).join(", "),
      riseOnHover: true
    });
    marker.bindTooltip(lines(texts), { className: "tip", direction: "top", offset: [0, -12] });
    return marker.on("click", function () { openCard(anchor); });
  }

  function errorCircle(at, radius) {
    return L.circle(at, Object.assign({ interactive: false }, use("declared_error"), { radius: radius }));
  }

  function declaredLayer(item) {
    var point = item.g.type === "Point";
    var place = geo(item.g, point ? "declared_point" : "declared_outline", item.t, item.a);
    var group = [place];
    if (point) { group.unshift(errorCircle([item.g.coordinates[1], item.g.coordinates[0]], item.r)); }
    if (item.n !== null) { group.push(pin(place.getBounds().getCenter(), item.n, "not_seen", item.t, item.a)); }
    var layer = L.featureGroup(group);
    if (item.a && !shapes[item.a]) { shapes[item.a] = layer; } // a site comes first
    return { layer: layer, bounds: place.getBounds() };
  }

  function siteLayer(item) {
    var group = [pin([item.p[1], item.p[0]], item.n, item.c, item.t, item.a)];
    if (item.g) { group.push(geo(item.g, item.c, item.t, item.a)); }
    var layer = L.featureGroup(group);
    if (item.a) { shapes[item.a] = layer; } // beyond a thousand sites some have no card
    return { layer: layer, bounds: layer.getBounds() };
  }

  /* A layer whose items follow the list: an item is shown while a row of its card is. */
  function following(items, draw) {
    var group = L.layerGroup();
    items.forEach(function (item) {
      var part = noted(function () { return draw(item); });
      group.addLayer(part.layer);
      parts.push({ group: group, layer: part.layer, bounds: part.bounds, anchor: item.a });
    });
    return group;
  }

  function drawMap() {
    var many = data.footprints.length + data.sites.length > 1500;
    map = L.map("map", { preferCanvas: many, zoomSnap: 0.25, maxZoom: 21, scrollWheelZoom: false });
    map.attributionControl.setPrefix(false);
    L.control.scale({ imperial: false }).addTo(map);
    var layers = {};
    var picture = byId("basemap");
    var bounds = null;
    if (data.picture && picture) {
      bounds = L.latLngBounds([data.picture[1], data.picture[0]], [data.picture[3], data.picture[2]]);
      layers.Picture = L.imageOverlay(picture, bounds).addTo(map);
    }
    if (data.bounds) {
      bounds = L.latLngBounds([data.bounds[1], data.bounds[0]], [data.bounds[3], data.bounds[2]]);
    }
    if (data.shade) {
      layers["Not looked at"] = noted(function () {
        return { layer: L.layerGroup([geo(data.shade, "not_looked_at")].concat(data.failed.map(function (tile) {
          return geo(tile.g, "failed_tile", tile.t);
        }))) };
      }).layer.addTo(map);
    }
    [["Other buildings", ["other_building"]],
      ["Data-center buildings and machines", ["data_center", "cooling_equipment", "generator", "substation"]]]
      .forEach(function (kind) {
        layers[kind[0]] = noted(function () {
          return { layer: L.layerGroup(data.footprints.filter(function (f) {
            return kind[1].indexOf(f.c) >= 0;
          }).map(function (f) { return geo(f.g, f.c); })) };
        }).layer.addTo(map);
      });
    layers.Sites = following(data.sites, siteLayer).addTo(map);
    layers.Declared = following(data.declared, declaredLayer).addTo(map);
    L.control.layers(null, layers).addTo(map);
    if (!bounds) {
      parts.forEach(function (part) { bounds = bounds ? bounds.extend(part.bounds) : L.latLngBounds([]).extend(part.bounds); });
    }
    map.fitBounds(bounds ? bounds.pad(0.02) : [[-60, -170], [75, 170]]);
    map.on("focus click", function () { map.scrollWheelZoom.enable(); });
    map.on("blur", function () { map.scrollWheelZoom.disable(); });
    addEventListener("beforeprint", function () { paper(true, bounds); });
    addEventListener("afterprint", function () { paper(false, bounds); });
    drawLegend();
    document.documentElement.dataset.map = "drawn";
  }

  function paper(on, bounds) {
    byId("map").classList.toggle("paper", on);
    map.invalidateSize({ animate: false });
    if (bounds) { map.fitBounds(bounds.pad(0.02), { animate: false }); }
  }

  function number(text) {
    return text === "" || isNaN(text) ? null : Number(text);
  }

  function compare(a, b, down) {
    var x = a.key, y = b.key;
    if (x === "" || y === "") { return x === y ? a.at - b.at : (x === "" ? 1 : -1); }
    var m = number(x), n = number(y);
    var order = m !== null && n !== null ? m - n : x.localeCompare(y);
    return (down ? -order : order) || a.at - b.at;
  }

  function sortable(table) {
    var body = table.tBodies[0];
    table.querySelectorAll("thead button").forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.parentNode;
        var down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach(function (th) { th.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var rows = Array.prototype.map.call(body.rows, function (row, at) {
          return { row: row, at: at, key: row.cells[head.cellIndex].dataset.v || "" };
        });
        rows.sort(function (a, b) { return compare(a, b, down); });
        rows.forEach(function (item) { body.appendChild(item.row); });
      });
    });
  }

  /* Chosen classes; none means all of them. */
  var chosen = {};

  function choose(name) {
    if (name === "") {
      chosen = {};
    } else if (chosen[name]) {
      delete chosen[name];
    } else {
      chosen[name] = true;
    }
    show();
  }

  /* List and map show the same entries: those of the chosen classes that hold the text searched for. Almost listed
     sites are of no class. */
  function show() {
    if (!table) { return; }
    var text = search.value.trim().toLowerCase();
    var any = Object.keys(chosen).length > 0;
    var rows = table.querySelectorAll("tr[data-class]");
    var anchors = {};
    var shown = 0, below = 0;
    function without(row) { return text !== "" && row.textContent.toLowerCase().indexOf(text) < 0; }
    rows.forEach(function (row) {
      row.hidden = (any && !chosen[row.dataset.class]) || without(row);
      if (!row.hidden) { anchors[row.dataset.anchor] = true; shown += 1; }
    });
    document.querySelectorAll("#almost tr[data-anchor]").forEach(function (row) {
      row.hidden = without(row);
      if (!any && !row.hidden) { anchors[row.dataset.anchor] = true; below += 1; }
    });
    document.querySelectorAll(".filters button").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.class ? Boolean(chosen[button.dataset.class]) : !any));
    });
    document.querySelectorAll(".shown").forEach(function (el) {
      el.textContent = shown === rows.length ? "all " + shown + " shown" : shown + " of " + rows.length + " shown"
        + (text !== "" && below ? ", and " + below + " almost listed below" : "");
    });
    parts.forEach(function (part) {
      var on = (!any && text === "") || Boolean(anchors[part.anchor]);
      if (on !== part.group.hasLayer(part.layer)) { part.group[on ? "addLayer" : "removeLayer"](part.layer); }
    });
    updateLegend();
  }

  function filterable() {
    var many = document.querySelectorAll("#ledger tr[data-anchor], #almost tr[data-anchor]").length > 1;
    document.querySelectorAll(".filters").forEach(function (bar) {
      bar.hidden = !many;
      bar.addEventListener("click", function (event) {
        var button = event.target.closest("button");
        if (button) { choose(button.dataset.class); }
      });
    });
    search.addEventListener("input", show);
    show();
  }

  var table = byId("ledger"), search = byId("search"); // null if the list is empty
  drawMap();
  document.querySelectorAll(".go").forEach(function (button) {
    button.hidden = !shapes[button.dataset.anchor];
    button.addEventListener("click", function () { showOnMap(button.dataset.anchor); });
  });
  if (table) {
    sortable(table);
    table.addEventListener("click", function (event) {
      var row = event.target.closest("tr[data-anchor]");
      if (row && event.target.closest(".rank")) { showOnMap(row.dataset.anchor); }
    });
    filterable();
  }
})();
