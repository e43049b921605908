// Package wire is long.
package wire // want sizes "has 503 lines" // want@5 sizes "Long has 61 lines"

// Long is one line too long.
func Long() {
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
}

// Fits is as long as may be.
func Fits() {
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
	_ = 0
}

// Many takes too many.
func Many(a, b, c int, d, e string) {} // want sizes "takes 5 parameters"

// Method has a receiver, which does not count.
func (s *Small) Method(a, b, c, d int) {}

// Small holds a function that takes too many.
type Small struct {
	call func(a, b, c, d, e int) // want sizes "takes 5 parameters"
}

// Wide asks for too much.
type Wide interface { // want sizes "has 5 methods"
	A()
	B()
	C()
	D()
	E()
}

// Table is data.
func Table() []int {
	return []int{
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
		1,
	}
}

// line 224
// line 225
// line 226
// line 227
// line 228
// line 229
// line 230
// line 231
// line 232
// line 233
// line 234
// line 235
// line 236
// line 237
// line 238
// line 239
// line 240
// line 241
// line 242
// line 243
// line 244
// line 245
// line 246
// line 247
// line 248
// line 249
// line 250
// line 251
// line 252
// line 253
// line 254
// line 255
// line 256
// line 257
// line 258
// line 259
// line 260
// line 261
// line 262
// line 263
// line 264
// line 265
// line 266
// line 267
// line 268
// line 269
// line 270
// line 271
// line 272
// line 273
// line 274
// line 275
// line 276
// line 277
// line 278
// line 279
// line 280
// line 281
// line 282
// line 283
// line 284
// line 285
// line 286
// line 287
// line 288
// line 289
// line 290
// line 291
// line 292
// line 293
// line 294
// line 295
// line 296
// line 297
// line 298
// line 299
// line 300
// line 301
// line 302
// line 303
// line 304
// line 305
// line 306
// line 307
// line 308
// line 309
// line 310
// line 311
// line 312
// line 313
// line 314
// line 315
// line 316
// line 317
// line 318
// line 319
// line 320
// line 321
// line 322
// line 323
// line 324
// line 325
// line 326
// line 327
// line 328
// line 329
// line 330
// line 331
// line 332
// line 333
// line 334
// line 335
// line 336
// line 337
// line 338
// line 339
// line 340
// line 341
// line 342
// line 343
// line 344
// line 345
// line 346
// line 347
// line 348
// line 349
// line 350
// line 351
// line 352
// line 353
// line 354
// line 355
// line 356
// line 357
// line 358
// line 359
// line 360
// line 361
// line 362
// line 363
// line 364
// line 365
// line 366
// line 367
// line 368
// line 369
// line 370
// line 371
// line 372
// line 373
// line 374
// line 375
// line 376
// line 377
// line 378
// line 379
// line 380
// line 381
// line 382
// line 383
// line 384
// line 385
// line 386
// line 387
// line 388
// line 389
// line 390
// line 391
// line 392
// line 393
// line 394
// line 395
// line 396
// line 397
// line 398
// line 399
// line 400
// line 401
// line 402
// line 403
// line 404
// line 405
// line 406
// line 407
// line 408
// line 409
// line 410
// line 411
// line 412
// line 413
// line 414
// line 415
// line 416
// line 417
// line 418
// line 419
// line 420
// line 421
// line 422
// line 423
// line 424
// line 425
// line 426
// line 427
// line 428
// line 429
// line 430
// line 431
// line 432
// line 433
// line 434
// line 435
// line 436
// line 437
// line 438
// line 439
// line 440
// line 441
// line 442
// line 443
// line 444
// line 445
// line 446
// line 447
// line 448
// line 449
// line 450
// line 451
// line 452
// line 453
// line 454
// line 455
// line 456
// line 457
// line 458
// line 459
// line 460
// line 461
// line 462
// line 463
// line 464
// line 465
// line 466
// line 467
// line 468
// line 469
// line 470
// line 471
// line 472
// line 473
// line 474
// line 475
// line 476
// line 477
// line 478
// line 479
// line 480
// line 481
// line 482
// line 483
// line 484
// line 485
// line 486
// line 487
// line 488
// line 489
// line 490
// line 491
// line 492
// line 493
// line 494
// line 495
// line 496
// line 497
// line 498
// line 499
// line 500
// line 501
// line 502
// line 503
