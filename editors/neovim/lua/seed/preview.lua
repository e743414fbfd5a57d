--- A window that shows text, and one that shows a difference and asks what to do with it.
local api = vim.api

local M = {}
local MOST_WIDTH = 100

---@param lines string[]
---@param title string
---@param footer string
---@return integer buf
---@return integer window
local function open(lines, title, footer)
  if api.nvim_get_mode().mode:sub(1, 1) == "i" then
    vim.cmd.stopinsert()
  end
  local buf = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(buf, 0, -1, true, lines)
  vim.bo[buf].modifiable = false
  vim.bo[buf].bufhidden = "wipe"
  local width = #title + 2
  for _, line in ipairs(lines) do
    width = math.max(width, vim.fn.strdisplaywidth(line))
  end
  width = math.max(math.min(width + 1, MOST_WIDTH, vim.o.columns - 4), 20)
  local height = math.max(math.min(#lines, vim.o.lines - 6), 1)
  local window = api.nvim_open_win(buf, true, {
    relative = "editor",
    row = math.floor((vim.o.lines - height) / 2) - 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    style = "minimal",
    border = "rounded",
    title = (" %s "):format(title),
    footer = (" %s "):format(footer),
  })
  vim.wo[window].wrap = true
  return buf, window
end

--- Show text that can be read and copied.
---@param title string
---@param lines string[]
---@param filetype string?
function M.read(title, lines, filetype)
  local buf, window = open(lines, title, "q closes")
  if filetype then
    vim.bo[buf].syntax = filetype
  end
  for _, key in ipairs({ "q", "<Esc>" }) do
    vim.keymap.set("n", key, function()
      api.nvim_win_close(window, true)
    end, { buffer = buf, nowait = true, desc = "seed: close" })
  end
end

---@class seed.Question
---@field title string
---@field description string said above the difference, unless it is empty
---@field diff string
---@field on_decision fun(is_accepted: boolean) called once, however the window is closed

--- Show a difference and ask what to do with it.
---@param options seed.Question
function M.show(options)
  local lines = {}
  if options.description ~= "" then
    lines = vim.split(options.description .. "\n", "\n", { plain = true })
  end
  vim.list_extend(lines, vim.split(vim.trim(options.diff), "\n", { plain = true }))
  local buf, window = open(lines, options.title, "a accepts, q rejects")
  vim.bo[buf].syntax = "diff"
  local is_decided = false
  local function decide(is_accepted)
    if not is_decided then
      is_decided = true
      if api.nvim_win_is_valid(window) then
        api.nvim_win_close(window, true)
      end
      options.on_decision(is_accepted)
    end
  end
  for key, is_accepted in pairs({ a = true, ["<CR>"] = true, q = false, ["<Esc>"] = false }) do
    vim.keymap.set("n", key, function()
      decide(is_accepted)
    end, { buffer = buf, nowait = true, desc = is_accepted and "seed: accept" or "seed: reject" })
  end
  api.nvim_create_autocmd("BufWipeout", {
    buffer = buf,
    once = true,
    callback = function()
      decide(false)
    end,
  })
end

return M
