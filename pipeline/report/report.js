/* Sorting, filtering and the map of the report. Texts of the data are only ever set as text. */
(function () {
  "use strict";
  var byId = document.getElementById.bind(document);
  var data = JSON.parse(byId("map-data").textContent);
  var style = getComputedStyle(document.documentElement);
  var calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  var shapes = {};
  var map = null;

  function colour(name) {
    return style.getPropertyValue("--" + name).trim();
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
    return Array.prototype.filter.call(document.querySelectorAll("#ledger tr[data-anchor]"), function (row) {
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
    var shape = shapes[anchor];
    mark(anchor);
    if (!map || !shape) { return; }
    map.fitBounds(shape.getBounds().pad(0.5), { maxZoom: 17, animate: !calm });
    byId("map").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
    map.eachLayer(function (part) { if (part instanceof L.Marker) { part.closeTooltip(); } });
    shape.eachLayer(function (part) { if (part instanceof L.Marker) { part.openTooltip(); } });
  }

  function geo(feature, options, texts, anchor) {
    var layer = L.geoJSON(feature, {
      style: options,
      interactive: Boolean(texts),
      pointToLayer: function (_, at) { return L.circleMarker(at, Object.assign({ radius: 5 }, options)); }
    });
    if (texts) { layer.bindTooltip(lines(texts), { sticky: true, className: "tip" }); }
    if (anchor) { layer.on("click", function () { openCard(anchor); }); }
    return layer;
  }

  function pin(at, rank, klass, texts, anchor) {
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

  function declaredLayer(item) {
    var yellow = colour("m-declared");
    var outline = { color: yellow, weight: 2, dashArray: "6 5", fillOpacity: 0.04, fillColor: yellow };
    var dot = { color: "#16181c", weight: 1, fillColor: yellow, fillOpacity: 1 };
    var point = item.g.type === "Point";
    var shape = geo(item.g, point ? dot : outline, item.t, item.a);
    var group = [shape];
    if (point) {
      group.unshift(L.circle([item.g.coordinates[1], item.g.coordinates[0]],
        Object.assign({ radius: item.r, interactive: false }, outline)));
    }
    if (item.n !== null) {
      group.push(pin(shape.getBounds().getCenter(), item.n, "not_seen", item.t, item.a));
      shapes[item.a] = L.featureGroup(group);
    }
    return L.layerGroup(group);
  }

  function siteLayer(item) {
    var ink = colour("m-" + item.c);
    var group = [pin([item.p[1], item.p[0]], item.n, item.c, item.t, item.a)];
    if (item.g) {
      group.push(geo(item.g, { color: ink, weight: 2.5, fillColor: ink, fillOpacity: 0.12 }, item.t, item.a));
    }
    shapes[item.a] = L.featureGroup(group);
    return shapes[item.a];
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
      var grey = { stroke: true, color: colour("m-shade"), weight: 1, dashArray: "2 4", fillColor: colour("m-shade"), fillOpacity: 0.32 };
      layers["Not looked at"] = L.layerGroup([geo(data.shade, grey)].concat(data.failed.map(function (tile) {
        return geo(tile.g, { color: colour("m-failed"), weight: 1.5, dashArray: "5 4", fillOpacity: 0.06 }, tile.t);
      }))).addTo(map);
    }
    var strokes = { other_building: ["m-ob", 1], data_center: ["m-dc", 1.5], cooling_equipment: ["m-eq", 1.5] };
    [["Other buildings", ["other_building"]], ["Data-center buildings and equipment", ["data_center", "cooling_equipment"]]]
      .forEach(function (kind) {
        layers[kind[0]] = L.layerGroup(data.footprints.filter(function (f) {
          return kind[1].indexOf(f.c) >= 0;
        }).map(function (f) {
          return geo(f.g, { color: colour(strokes[f.c][0]), weight: strokes[f.c][1], fillOpacity: 0.08 });
        })).addTo(map);
      });
    layers.Sites = L.layerGroup(data.sites.map(siteLayer)).addTo(map);
    layers.Declared = L.layerGroup(data.declared.map(declaredLayer)).addTo(map);
    L.control.layers(null, layers, { collapsed: innerWidth < 700 }).addTo(map);
    if (!bounds) {
      data.sites.concat(data.declared).forEach(function (item) {
        if (item.g) {
          var box = L.geoJSON(item.g).getBounds();
          bounds = bounds ? bounds.extend(box) : box;
        }
      });
    }
    map.fitBounds(bounds ? bounds.pad(0.02) : [[-60, -170], [75, 170]]);
    map.on("focus click", function () { map.scrollWheelZoom.enable(); });
    map.on("blur", function () { map.scrollWheelZoom.disable(); });
    addEventListener("beforeprint", function () { paper(true, bounds); });
    addEventListener("afterprint", function () { paper(false, bounds); });
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

  function filterable(table) {
    var bar = document.querySelector(".filters");
    var rows = table.querySelectorAll("tr[data-class]");
    var search = byId("search");
    function apply() {
      var off = {};
      bar.querySelectorAll("button").forEach(function (b) {
        off[b.dataset.class] = b.getAttribute("aria-pressed") === "false";
      });
      var text = search.value.trim().toLowerCase();
      var shown = 0;
      rows.forEach(function (row) {
        row.hidden = off[row.dataset.class] || (text !== "" && row.textContent.toLowerCase().indexOf(text) < 0);
        shown += row.hidden ? 0 : 1;
      });
      byId("shown").textContent = shown === rows.length ? "" : shown + " of " + rows.length + " shown";
    }
    bar.addEventListener("click", function (event) {
      var button = event.target.closest("button");
      if (!button) { return; }
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
      apply();
    });
    search.addEventListener("input", apply);
    bar.hidden = rows.length < 2;
  }

  var table = byId("ledger");
  sortable(table);
  filterable(table);
  table.addEventListener("click", function (event) {
    var row = event.target.closest("tr[data-anchor]");
    if (row && event.target.closest(".rank")) { showOnMap(row.dataset.anchor); }
  });
  document.querySelectorAll(".go").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () { showOnMap(button.dataset.anchor); });
  });
  drawMap();
})();
