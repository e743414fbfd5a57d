--- When to ask, what to do with answers, when to show: the one place where all parts meet.
---
--- An answer counts only if it is to the latest request and nothing has changed since. What is shown
--- stays until something else is typed, and only grows.
local ghost = require("seed.ghost")
local menu = require("seed.menu")
local place = require("seed.place")
local server = require("seed.server")
local suggestion = require("seed.suggestion")
local text = require("seed.text")
local api = vim.api

local METHOD = "textDocument/inlineCompletion"
local INVOKED, AUTOMATIC = 1, 2
local MOST_RETRIES, RETRY_MS = 8, 300

local M = {}
local current ---@type seed.Suggestion?
local last ---@type seed.Place? at the latest look
local request ---@type { client: vim.lsp.Client, id: integer }?
local serial = 0 -- of the latest request
local newest ---@type table? the latest update, which may have overtaken its answer
local timer ---@type uv.uv_timer_t?
local hint ---@type string?

local function is_inserting()
  return api.nvim_get_mode().mode:sub(1, 1) == "i"
end

local function cancel()
  if timer then
    timer:stop()
  end
  serial = serial + 1
  if request then
    request.client:cancel_request(request.id)
    request = nil
  end
end

---@param now seed.Place
local function render(now)
  local rest = current and current:rest(now)
  if rest and is_inserting() and not menu.is_open() then
    ghost.show(now, rest, hint)
  else
    ghost.hide()
  end
end

---@param client vim.lsp.Client
---@param now seed.Place
---@param result table?
---@return string[] texts
---@return table? command
local function texts_of(client, now, result)
  local texts, command = {}, nil
  for _, item in ipairs(result and (result.items or result) or {}) do
    local added = text.of_item(item, now.line, now.col, function(character)
      return place.to_byte(now.line, client.offset_encoding, character)
    end)
    if added and added ~= "" then
      table.insert(texts, added)
      command = command or item.command
    end
  end
  return texts, command
end

---@param client vim.lsp.Client
---@param asked seed.Place
---@param result table?
---@return boolean whether it is an answer for what is there now
local function take_answer(client, asked, result)
  local now = place.take()
  if not place.is_same(now, asked) or not is_inserting() then
    return false
  end
  local texts, command = texts_of(client, now, result)
  if #texts == 0 then
    return true
  end
  if current and current:rest(now) then
    current:add(now, texts)
    current.session = command and command.arguments[2] or current.session
  else
    current = suggestion.new(now, texts, command)
  end
  if newest and newest.session == current.session and newest.version == now.version then
    current:grow(now, newest.text)
  end
  render(now)
  return true
end

---@param kind 1|2
---@param on_answer fun()? called once an answer that still counts is there
local function ask(kind, on_answer)
  local now = place.take()
  local client = server.client(now.buf)
  if not client or not is_inserting() then
    return
  end
  local before = request
  serial = serial + 1
  local own = serial
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(now.buf) },
    position = place.to_position(now, client.offset_encoding),
    context = { triggerKind = kind },
  }
  local is_sent, id = client:request(METHOD, params, function(_, result)
    if own ~= serial then
      return
    end
    request = nil
    if take_answer(client, now, result) and on_answer then
      on_answer()
    end
  end, now.buf)
  request = is_sent and id and { client = client, id = id } or nil
  if before then
    -- Only now: the server has just seen the change, and keeps what was typed along.
    before.client:cancel_request(before.id)
  end
end

---@param delay_ms number
local function ask_after(delay_ms)
  timer = timer or assert(vim.uv.new_timer())
  timer:stop()
  if delay_ms <= 0 then
    return ask(AUTOMATIC)
  end
  timer:start(
    delay_ms,
    0,
    vim.schedule_wrap(function()
      ask(AUTOMATIC)
    end)
  )
end

--- Forget the suggestion and stop asking.
function M.clear()
  cancel()
  current, newest, last, hint = nil, nil, nil, nil
  ghost.hide()
end

--- Look where the cursor is and what stands there; cheap if nothing has changed.
function M.refresh()
  if not is_inserting() or not server.client(api.nvim_get_current_buf()) then
    return M.clear()
  end
  menu.watch_cmp(M.refresh)
  local now, before = place.take(), last
  if menu.is_open() then
    cancel()
    last = nil
    return ghost.hide()
  end
  last = now
  if place.is_same(now, before) then
    return render(now)
  end
  hint = nil
  local is_changed_elsewhere = before
    and before.version ~= now.version
    and place.typed(before, now) == ""
  if is_changed_elsewhere or not (current and current:rest(now)) then
    current = nil
  end
  render(now)
  ask_after(current and 0 or require("seed.config").values.debounce_ms)
end

--- A prediction has grown (`seed/inlineCompletion/update`).
---@param params table
---@param client vim.lsp.Client
function M.update(params, client)
  local now = place.take()
  local start = params.item.range and params.item.range.start
  if params.version ~= now.version or params.uri ~= vim.uri_from_bufnr(now.buf) then
    return
  end
  newest = {
    session = params.session,
    version = params.version,
    text = text.normalize(params.text),
  }
  local is_here = start
    and start.line == now.row
    and place.to_byte(now.line, client.offset_encoding, start.character) == now.col
  if is_here and current and current.session == params.session then
    current:grow(now, newest.text)
    render(now)
  end
end

--- What is on screen, if anything is.
---@return string?
function M.shown()
  if not current or not is_inserting() or menu.is_open() then
    return nil
  end
  return current:rest(place.take())
end

---@param added string
local function insert(added)
  -- Accepting is a step of its own for undo.
  vim.cmd("let &l:undolevels = &l:undolevels")
  local now = place.take()
  local lines = vim.split(added, "\n", { plain = true })
  api.nvim_buf_set_text(now.buf, now.row, now.col, now.row, now.col, lines)
  local col = #lines == 1 and now.col + #added or #lines[#lines]
  api.nvim_win_set_cursor(0, { now.row + #lines, col })
  vim.cmd("let &l:undolevels = &l:undolevels")
end

--- Put what is shown, or its beginning, into the buffer.
---@param piece_of (fun(shown: string): string)? all of it if absent
---@return boolean whether anything was shown
function M.accept(piece_of)
  local shown = M.shown()
  if not shown then
    return false
  end
  local piece = piece_of and piece_of(shown) or shown
  local command = current.command
  insert(piece)
  local now = place.take()
  last, hint = now, nil
  if piece == shown then
    current = nil
  end
  render(now)
  ask_after(0)
  if piece == shown and command then
    server.execute(command.command, command.arguments, nil, now.buf)
  end
  return true
end

--- Take away what is shown; it does not come back by itself to this place.
---@return boolean whether anything was shown
function M.dismiss()
  if not M.shown() then
    return false
  end
  local now = place.take()
  M.clear()
  last = now
  server.execute("seed.dismiss", { vim.uri_from_bufnr(now.buf) }, nil, now.buf)
  return true
end

--- Show another text for the place; the first time the server is asked for some.
---@param step 1|-1
---@param retries integer?
function M.cycle(step, retries)
  local now = place.take()
  if current and current:cycle(now, step) then
    hint = (" (%d/%d)"):format(current.index, #current.texts)
    return render(now)
  end
  retries = retries or MOST_RETRIES
  ask(INVOKED, function()
    if not current or #current.texts > 1 or retries == 0 then
      if current and #current.texts > 1 then
        M.cycle(step, 0)
      end
      return
    end
    -- The server begins with other texts once it is asked for them: they come with a later answer.
    vim.defer_fn(function()
      if place.is_same(now, place.take()) and is_inserting() then
        M.cycle(step, retries - 1)
      end
    end, RETRY_MS)
  end)
end

--- Ask by hand, also where nothing comes by itself.
function M.trigger()
  ask(INVOKED)
end

--- Show a text at the cursor, whoever it is from.
---@param shown string
function M.offer(shown)
  local now = place.take()
  cancel()
  current, last, hint = suggestion.new(now, { text.normalize(shown) }), now, nil
  render(now)
end

--- Begin to follow the cursor; again does nothing.
function M.start()
  local group = api.nvim_create_augroup("seed.inline", { clear = true })
  api.nvim_create_autocmd({ "InsertEnter", "TextChangedI", "TextChangedP", "CursorMovedI" }, {
    group = group,
    callback = M.refresh,
  })
  api.nvim_create_autocmd({ "InsertLeave", "BufLeave", "VimLeavePre" }, {
    group = group,
    callback = M.clear,
  })
  menu.watch(group, M.refresh)
end

return M
